"""The netpoller: which descriptors are ready, and the operations that wait for them."""
