package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stopTimeout is how long a server may take to end, before it is killed. It is longer than drain.
	stopTimeout = 6 * time.Second
	// kept is how many of a server's last lines an error has, each of at most maxLine bytes.
	kept    = 8
	maxLine = 2000
)

// lineReader looks at a line that a server wrote: the address if it says that it listens, and whether people should see it.
type lineReader func(line string) (address string, show bool)

// child is a server that runs until stop.
type child struct {
	name      string
	process   *os.Process
	listening chan string   // gets the address, once
	ended     chan struct{} // closed when it has
	err       error         // why, if not nil; valid once it has ended
	output    *output
}

// startChild starts a server. Its output goes to standard error, so far as read wants it.
func startChild(name string, command *exec.Cmd, read lineReader) (*child, error) {
	c := &child{name: name, listening: make(chan string, 1), ended: make(chan struct{})}
	c.output = &output{name: name, read: read, listening: c.listening}
	command.Stdout, command.Stderr = c.output, c.output
	command.WaitDelay = time.Second // for output, which a child of its own may hold open
	apart(command)
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.process = command.Process
	go func() {
		c.err = command.Wait()
		close(c.ended)
	}()
	return c, nil
}

// stop ends the server, and returns when it has ended. It is killed after limit.
func (c *child) stop(limit time.Duration) {
	if c.process.Signal(syscall.SIGTERM) != nil {
		_ = c.process.Kill() // a system without signals, or it has ended
	}
	late := time.AfterFunc(limit, func() { _ = c.process.Kill() })
	defer late.Stop()
	<-c.ended
}

// failure tells of a server that has ended by itself.
func (c *child) failure() error {
	status := "without an error"
	if c.err != nil {
		status = c.err.Error()
	}
	return fmt.Errorf("%s ended: %s\n%s", c.name, status, strings.Join(c.output.last(), "\n"))
}

// output takes what a server writes, line by line.
type output struct {
	name      string
	read      lineReader
	listening chan<- string

	mu    sync.Mutex
	part  []byte // of a line that has not ended
	lines []string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.part = append(o.part, p...)
	for {
		line, rest, ok := bytes.Cut(o.part, []byte("\n"))
		if !ok && len(o.part) <= maxLine {
			return len(p), nil
		}
		if !ok {
			line, rest = o.part, nil
		}
		o.line(string(line[:min(len(line), maxLine)]))
		o.part = append([]byte(nil), rest...)
	}
}

func (o *output) line(line string) {
	address, show := o.read(line)
	if address != "" {
		select {
		case o.listening <- address:
		default: // it was told already
		}
	}
	if show {
		fmt.Fprintf(os.Stderr, "%s: %s\n", o.name, line)
	}
	o.lines = append(o.lines, line)
	o.lines = o.lines[max(0, len(o.lines)-kept):]
}

// last returns the last lines.
func (o *output) last() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := slices.Clone(o.lines)
	if len(o.part) > 0 {
		lines = append(lines, string(o.part))
	}
	return lines
}
