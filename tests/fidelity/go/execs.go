//go:build ignore

// os/exec: what Cancel makes of the end of a context, its error, and WaitDelay.
package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Programs say in the file "$0" that they are ready; then their context ends. This one ends with the status that it is
// given when it is told to.
const obedient = `trap "exit $1" TERM; : > "$0"; while :; do sleep 0.01; done`

// This one ends by itself, some time after its context.
const independent = `: > "$0"; until [ -e "$0.end" ]; do sleep 0.01; done; exit $1`

// outcome says how a Run ended.
func outcome(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "well"
	case errors.Is(err, context.Canceled):
		return "the context's error"
	case errors.Is(err, exec.ErrWaitDelay):
		return "wait delay"
	case errors.As(err, &exit):
		return exit.String()
	case strings.Contains(err.Error(), "no such thing"):
		return "cancel's error"
	}
	return err.Error()
}

// running runs a shell script, and ends its context as soon as the script has made the file "$0".
func running(script, argument string, cancel func(cmd *exec.Cmd) error, delay time.Duration) {
	folder, err := os.MkdirTemp("", "fidelity")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "ready")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(file); err == nil {
				stop()
				if cancel == nil {
					end(file)
				}
			}
			time.Sleep(ms)
		}
	}()
	cmd := exec.CommandContext(ctx, "sh", "-c", script, file, argument)
	var out bytes.Buffer
	cmd.Stdout = &out
	called := false
	cmd.Cancel = nil
	if cancel != nil {
		cmd.Cancel = func() error {
			called = true
			end(file)
			return cancel(cmd)
		}
	}
	cmd.WaitDelay = delay
	err = cmd.Run()
	say(outcome(err), called)
}

// end lets an independent program end.
func end(file string) { os.WriteFile(file+".end", nil, 0o600) }

// terminate asks a program to end.
func terminate(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }

func init() {
	add("it_ends_well", func() { running(obedient, "0", terminate, 0) })
	add("it_fails", func() { running(obedient, "3", terminate, 0) })
	add("it_dies_of_the_signal", func() { running(`: > "$0"; exec sleep 1000`, "", terminate, 0) })
	add("it_takes_no_notice", func() {
		running(independent, "0", func(*exec.Cmd) error { return nil }, 0)
		running(independent, "3", func(*exec.Cmd) error { return nil }, 0)
	})
	add("cancel_fails", func() {
		running(independent, "0", func(*exec.Cmd) error { return errors.New("no such thing") }, 0)
		running(independent, "3", func(*exec.Cmd) error { return errors.New("no such thing") }, 0)
	})
	add("it_had_ended", func() {
		running(independent, "0", func(*exec.Cmd) error { return os.ErrProcessDone }, 0)
		running(independent, "3", func(*exec.Cmd) error { return os.ErrProcessDone }, 0)
	})
	add("no_cancel", func() {
		running(independent, "0", nil, 0)
		running(independent, "3", nil, 0)
	})
	add("it_ends_before", func() {
		running("true", "", terminate, 0)
		running("exit 3", "", terminate, 0)
	})
	add("others_hold_the_pipe", func() {
		holds := `sleep 6 & trap "exit $1" TERM; : > "$0"; while :; do sleep 0.01; done`
		running(holds, "0", terminate, 1000*ms)
		running(holds, "3", terminate, 1000*ms)
		running("sleep 6 & exit 0", "", nil, 50*ms)
	})
}
