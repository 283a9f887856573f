// Command centrifuge is the Go peer of the benchmark (cmd/twinebench): a server of centrifugal/centrifuge in this process,
// with its in-memory broker, its JSON protocol over WebSocket and every client subscribed to one channel by the server.
// Two settings are not its defaults, for the sake of its memory: write buffers are pooled, and commands are not processed
// on the goroutine that reads.
//
// It takes one command a line on standard input and answers each with a line of JSON; it ends when standard input does.
//
//	stats             CPU used so far and what it holds
//	emit COUNT SIZE   publishes COUNT messages of SIZE characters, back to back
//	collect           collects garbage and gives free memory back
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
)

const (
	channel = "bench"
	digits  = 10 // of a message's number, which comes first so that the receiver can check the order
)

type reply struct {
	Name   string `json:"name,omitempty"`
	Port   int    `json:"port,omitempty"`
	CPU    int64  `json:"cpu_us"`
	Joined int    `json:"joined"`
	Next   uint32 `json:"next"`
	Error  string `json:"error,omitempty"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		log.Fatal("centrifuge: ", err)
	}
}

func serve(in io.Reader, out io.Writer) error {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return err
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel: {}},
		}, nil
	})
	if err := node.Run(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true, ProcessCommandsOffReadLoop: true,
	}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	s := &subject{node: node, next: 1}
	answers := json.NewEncoder(out)
	hello := reply{Name: "centrifuge " + version() + ", " + runtime.Version(), Port: listener.Addr().(*net.TCPAddr).Port}
	if err := answers.Encode(hello); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		r := s.stats(s.do(strings.Fields(lines.Text())))
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
	// The process ends here, and with it all connections.
	_ = listener.Close()
	<-served
	return lines.Err()
}

// version is that of the library, as go.mod has it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/centrifugal/centrifuge" {
				return module.Version
			}
		}
	}
	return "unknown"
}

type subject struct {
	node *centrifuge.Node
	next uint32
}

func (s *subject) do(command []string) error {
	switch {
	case len(command) == 1 && command[0] == "stats":
		return nil
	case len(command) == 1 && command[0] == "collect":
		debug.FreeOSMemory()
		return nil
	case len(command) == 3 && command[0] == "emit":
		count, err := strconv.ParseUint(command[1], 10, 31)
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(command[2], 10, 20)
		if err != nil {
			return err
		}
		return s.emit(int(count), int(size))
	}
	return fmt.Errorf("unknown command %q", command)
}

func (s *subject) emit(count, size int) error {
	rest := strings.Repeat(".", max(0, size-digits))
	for range count {
		// The event is what Socket.IO's servers send, so that as many bytes are on the wire.
		data, err := json.Marshal([]string{"m", fmt.Sprintf("%0*d%s", digits, s.next, rest)})
		if err != nil {
			return err
		}
		if _, err := s.node.Publish(channel, data); err != nil {
			return err
		}
		s.next++
	}
	return nil
}

func (s *subject) stats(err error) reply {
	var usage syscall.Rusage
	if err == nil {
		err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	}
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{CPU: (usage.Utime.Nano() + usage.Stime.Nano()) / 1000, Joined: s.node.Hub().NumSubscribers(channel), Next: s.next}
}
