//go:build ignore

// Signals that a program sends to itself: os/signal.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func hit(sig syscall.Signal) { syscall.Kill(os.Getpid(), sig) }

// filled waits until ch holds n signals.
func filled(ch chan os.Signal, n int) {
	for len(ch) < n {
		runtime.Gosched()
	}
}

func init() {
	add("arrives", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		for i := 0; i < 3; i++ {
			hit(syscall.SIGTERM)
			say(<-ch)
		}
	})

	add("interrupt_goes_to_the_channel", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, os.Interrupt)
		hit(syscall.SIGINT)
		say(<-ch)
		say("not interrupted")
	})

	add("every_signal", func() { // Notify without signals
		ch := make(chan os.Signal, 1)
		signal.Notify(ch)
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
			hit(sig)
			say(<-ch)
		}
	})

	add("several_channels", func() {
		both := make(chan os.Signal, 2)
		one := make(chan os.Signal, 2)
		signal.Notify(both, syscall.SIGUSR1, syscall.SIGUSR2)
		signal.Notify(one, syscall.SIGUSR2)
		hit(syscall.SIGUSR1)
		say(<-both)
		hit(syscall.SIGUSR2)
		say(<-both, <-one)
		signal.Stop(both)
		hit(syscall.SIGUSR2)
		say(<-one, len(both))
	})

	add("notify_again_adds", func() {
		ch := make(chan os.Signal, 4)
		signal.Notify(ch, syscall.SIGUSR1)
		signal.Notify(ch, syscall.SIGUSR1)
		signal.Notify(ch, syscall.SIGUSR2)
		hit(syscall.SIGUSR1)
		filled(ch, 1)
		hit(syscall.SIGUSR2)
		filled(ch, 2)
		signal.Stop(ch)
		say(<-ch, <-ch, len(ch))
	})

	add("full_channel_loses", func() {
		small := make(chan os.Signal, 1)
		large := make(chan os.Signal, 2)
		signal.Notify(small, syscall.SIGUSR1, syscall.SIGUSR2)
		signal.Notify(large, syscall.SIGUSR1, syscall.SIGUSR2)
		hit(syscall.SIGUSR1)
		say(<-large)
		filled(small, 1)
		hit(syscall.SIGUSR2)
		say(<-large)
		signal.Stop(small)
		say(<-small, len(small))
	})

	add("unbuffered_with_a_receiver", func() {
		ch := make(chan os.Signal)
		done := make(chan bool)
		signal.Notify(ch, syscall.SIGUSR1)
		go func() {
			say(<-ch)
			done <- true
		}()
		settle()
		hit(syscall.SIGUSR1)
		<-done
	})

	add("stop_gives_the_default_back", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		hit(syscall.SIGTERM)
		say(<-ch)
		signal.Stop(ch)
		flush()
		hit(syscall.SIGTERM)
		<-ch
	})

	add("reset_gives_the_default_back", func() {
		a := make(chan os.Signal, 1)
		b := make(chan os.Signal, 1)
		signal.Notify(a, syscall.SIGHUP, syscall.SIGUSR1)
		signal.Notify(b, syscall.SIGHUP)
		signal.Reset(syscall.SIGHUP)
		hit(syscall.SIGUSR1)
		say(<-a, len(a), len(b))
		flush()
		hit(syscall.SIGHUP)
		<-b
	})

	add("reset_of_all", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch)
		signal.Reset()
		flush()
		hit(syscall.SIGTERM)
		<-ch
	})

	add("ignored", func() {
		say(signal.Ignored(syscall.SIGTERM))
		signal.Ignore(syscall.SIGTERM)
		say(signal.Ignored(syscall.SIGTERM))
		hit(syscall.SIGTERM)
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		say(signal.Ignored(syscall.SIGTERM))
		hit(syscall.SIGTERM)
		say(<-ch, len(ch))
		signal.Ignore(syscall.SIGTERM)
		hit(syscall.SIGTERM)
		settle()
		say(len(ch), signal.Ignored(syscall.SIGTERM))
		signal.Notify(ch, syscall.SIGTERM)
		signal.Stop(ch)
		say(signal.Ignored(syscall.SIGTERM))
		flush()
		hit(syscall.SIGTERM)
		<-ch
	})

	add("nil_channel", func() {
		say(refused(func() { signal.Notify(nil, syscall.SIGTERM) }))
		signal.Stop(make(chan os.Signal)) // was told of nothing
	})

	add("closed_channel", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGUSR1)
		close(ch)
		hit(syscall.SIGUSR1)
		select {}
	})

	add("waiting_for_a_signal_is_no_deadlock", func() {
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGUSR1)
		signal.Stop(ch)
		go func() { // everything sleeps, several times, and nobody complains
			for i := 0; i < 3; i++ {
				time.Sleep(150 * ms)
			}
			say("no deadlock")
			flush()
			os.Exit(7)
		}()
		<-ch
	})

	add("notify_context", func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1, syscall.SIGTERM)
		say(ctx.Err())
		hit(syscall.SIGUSR1)
		<-ctx.Done()
		say(ctx.Err(), context.Cause(ctx), errors.Is(context.Cause(ctx), context.Canceled))
		hit(syscall.SIGUSR1) // still not the default
		stop()
		stop()
		say(ctx.Err(), context.Cause(ctx))
		flush()
		hit(syscall.SIGTERM)
		select {}
	})

	add("context_stopped", func() {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1)
		stop()
		<-ctx.Done()
		say(ctx.Err(), context.Cause(ctx))
	})

	add("context_of_a_parent", func() {
		parent, cancel := context.WithCancelCause(context.Background())
		ctx, stop := signal.NotifyContext(parent, syscall.SIGTERM)
		defer stop()
		cancel(errors.New("enough"))
		<-ctx.Done()
		say(ctx.Err(), context.Cause(ctx))
		hit(syscall.SIGTERM) // the parent's end does not give the signals back
		say("alive")
	})
}
