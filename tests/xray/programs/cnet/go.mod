module cnet

go 1.21
