package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRunWithoutSuite(t *testing.T) {
	for _, args := range [][]string{nil, {"--suite", "nothing"}} {
		err := run(context.Background(), args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "engineio-v4") {
			t.Errorf("%q: got %v, want an error that lists the suites", args, err)
		}
	}
	if err := run(context.Background(), []string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: got %v", err)
	}
}

// Every suite's server starts, answers a handshake, and stops with a client waiting.
func TestRun(t *testing.T) {
	for _, name := range suiteNames() {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			r, w := io.Pipe()
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, []string{"--suite", name, "--port", "0"}, w) }()

			line := make([]byte, 100)
			n, err := r.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			_, address, ok := strings.Cut(string(bytes.TrimSpace(line[:n])), "listening on ")
			if !ok {
				t.Fatalf("got %q", line[:n])
			}
			path := engineIOPath
			if strings.HasPrefix(name, "socketio") {
				path = socketIOPath
			}
			h := &host{t: t, url: "http://" + address + path, client: &http.Client{Transport: new(http.Transport), Timeout: patience}}
			defer h.client.CloseIdleConnections()
			p := h.openPolling()
			answer := p.poll(context.Background())
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Fatal("it does not stop")
			}
			await(t, "poll", answer)
		})
	}
}

func TestPauseAfterUpgrade(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const pause = 30 * time.Millisecond
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, pausing{listener, pause}, engineIOv3(slog.New(slog.DiscardHandler), calm))
	}()
	h := &host{t: t, url: "http://" + listener.Addr().String() + engineIOPath}
	start := time.Now()
	w := h.openWebSocket3()
	if took := time.Since(start); took < pause {
		t.Errorf("the handshake came after %v", took)
	}
	w.send("4hello")
	w.expect("4hello")
	w.send("1")
	w.expectClosed()
	cancel()
	if err := await(t, "end", ended); err != nil {
		t.Error(err)
	}
}
