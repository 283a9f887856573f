package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// room is the one that every socket joins.
const room = "bench"

// subject is a server under test.
type subject interface {
	http.Handler
	// joined returns the number of sockets in the room.
	joined() int
	// emit sends the event "m" with one string to the room. With last it returns when the event, and what was sent
	// before, is as safe as this server makes it.
	emit(payload string, last bool) error
}

// reply is what a server under test answers to a command, or says first of all (Name and Port).
type reply struct {
	Name   string `json:"name,omitempty"`
	Port   int    `json:"port,omitempty"`
	CPU    int64  `json:"cpu_us"` // user and system time so far, in microseconds
	Joined int    `json:"joined"`
	Next   uint32 `json:"next"` // number of the next message
	Load   *load  `json:"load,omitempty"`
	Error  string `json:"error,omitempty"`
}

// serve is the child process: a server on a free port, which takes one command a line on in and answers each with a
// line of JSON. It ends when in does.
//
//	stats             CPU used so far and what it holds
//	emit COUNT SIZE   sends COUNT messages of SIZE characters to the room, back to back
//	publish N MS SIZE has N publishers publish messages of SIZE characters for MS milliseconds, each waiting for its
//	                  message to be accepted (recovery alone)
//	collect           collects garbage and gives free memory back
//	profile FILE      starts a CPU profile, or ends it without FILE
//	heap FILE         writes a heap profile, and to FILE.txt what the runtime has of the system's memory
func serve(args []string, in io.Reader, out io.Writer) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("serve: which server, and with which data folder or Redis?")
	}
	s, err := newSubject(args[0], strings.Join(args[1:], ""))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", s)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	c := control{subject: s, next: 1}
	answers := json.NewEncoder(out)
	hello := reply{Name: args[0] + ", " + runtime.Version(), Port: listener.Addr().(*net.TCPAddr).Port}
	if err := answers.Encode(hello); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := answers.Encode(c.do(strings.Fields(lines.Text()))); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
	}
	// The process ends here, and with it all connections: closing thousands in order would only take time.
	_ = listener.Close()
	<-served
	return lines.Err()
}

// subjects are the names that newSubject knows.
var subjects = []string{"twine", "recovery", "engineio", "streams"}

// newSubject makes one of them. store is the data folder of recovery, and the URL of the Redis of streams.
func newSubject(name, store string) (subject, error) {
	switch name {
	case "twine":
		return newTwineSubject(nil), nil
	case "recovery":
		return newRecoverySubject(store)
	case "streams":
		return newStreamsSubject(store)
	case "engineio":
		return newEngineSubject(), nil
	}
	return nil, fmt.Errorf("unknown server %q", name)
}

// control carries out commands.
type control struct {
	subject subject
	next    uint32
	profile *os.File
	load    *load // of the last publish
}

func (c *control) do(command []string) reply {
	c.load = nil
	if err := c.try(command); err != nil {
		return reply{Error: err.Error()}
	}
	cpu, err := cpuMicros()
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{CPU: cpu, Joined: c.subject.joined(), Next: c.next, Load: c.load}
}

func (c *control) try(command []string) error {
	switch {
	case len(command) == 1 && command[0] == "stats":
		return nil
	case len(command) == 3 && command[0] == "emit":
		return c.emit(command[1], command[2])
	case len(command) == 4 && command[0] == "publish":
		return c.publish(command[1:])
	case len(command) == 1 && command[0] == "collect":
		debug.FreeOSMemory()
		return nil
	case len(command) == 1 && command[0] == "profile" && c.profile != nil:
		pprof.StopCPUProfile()
		defer func() { c.profile = nil }()
		return c.profile.Close()
	case len(command) == 2 && command[0] == "profile":
		f, err := os.Create(command[1])
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		c.profile = f
		return nil
	case len(command) == 2 && command[0] == "heap":
		return writeMemory(command[1])
	}
	return fmt.Errorf("unknown command %q", command)
}

func (c *control) emit(countArg, sizeArg string) error {
	count, err := strconv.ParseUint(countArg, 10, 31)
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(sizeArg, 10, 20)
	if err != nil {
		return err
	}
	for i := range count {
		if err := c.subject.emit(payload(c.next, int(size)), i == count-1); err != nil {
			return err
		}
		c.next++
	}
	return nil
}

func (c *control) publish(args []string) error {
	var publishers, milliseconds, size int
	for i, to := range []*int{&publishers, &milliseconds, &size} {
		n, err := strconv.ParseUint(args[i], 10, 20)
		if err != nil {
			return err
		}
		*to = int(n)
	}
	s, ok := c.subject.(*recoverySubject)
	if !ok {
		return errors.New("this server has no log")
	}
	text := payload(0, size)
	publish := func(n int) error { return s.publish(n, text) }
	connect := func(int) (publisher, error) { return publisher{publish: publish}, nil }
	var err error
	c.load, err = hammer(context.Background(), publishers, time.Duration(milliseconds)*time.Millisecond, connect)
	return err
}
