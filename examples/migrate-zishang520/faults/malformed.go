package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/client"
)

// malformed sends the two bytes "42", an event without a name, to a server in a process of its own, and looks what
// becomes of the process.
func malformed(ctx context.Context, out io.Writer) error {
	for _, kind := range kinds {
		if err := malformedTo(ctx, out, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func malformedTo(ctx context.Context, out io.Writer, kind string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	process := exec.CommandContext(ctx, self, "-serve", kind)
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	errors := new(text)
	process.Stderr = errors
	if err := process.Start(); err != nil {
		return err
	}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		err = malformedAt(ctx, strings.TrimSpace(address))
	}
	if err != nil {
		_ = process.Process.Kill()
		_ = process.Wait() // it was killed
		return err
	}
	// A server that goes on takes another client.
	c, refused := client.Dial(ctx, strings.TrimSpace(address), "", nil)
	if refused == nil {
		c.Close()
	}
	stdin.Close()
	switch ended := process.Wait(); {
	case ended == nil && refused == nil:
		fmt.Fprintf(out, "%-28s closed the connection and went on\n", kind+":")
	case ended != nil:
		fmt.Fprintf(out, "%-28s the process ended: %v: %s\n", kind+":", ended, errors.firstLine())
	default:
		return refused
	}
	return nil
}

// malformedAt returns when the connection has ended.
func malformedAt(ctx context.Context, address string) error {
	c, err := client.Dial(ctx, address, "", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Write("42"); err != nil {
		return err
	}
	select {
	case <-c.Ended():
		return nil
	case <-time.After(5 * time.Second):
		return errors.New("the connection stays open")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// child serves until the input ends, for malformedTo.
func child(kind string, in io.Reader, out io.Writer) error {
	s, err := start(kind)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := fmt.Fprintln(out, s.address); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// text is what a process writes. The zero value is ready for use.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) firstLine() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(t.b.String(), "\n")
	return line
}
