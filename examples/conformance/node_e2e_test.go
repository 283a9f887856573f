//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/parser/msgpack"
)

// The unchanged npm clients against this program's servers, over polling, WebSocket, and from one to the other.

const checks = "../../testdata/js/conformance"

var summary = regexp.MustCompile(`(?m)^# (pass|fail|cancelled|skipped|todo) (\d+)$`)

// runChecks runs a script of checks with the given settings and wants all of them to pass.
func runChecks(t *testing.T, script string, settings map[string]any) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(checks, "..", "node_modules", "socket.io-msgpack-parser")); err != nil {
		t.Fatalf("%v: make test installs it", err)
	}
	argument, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*patience)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "--test-reporter=tap", script, string(argument))
	node.Dir = checks
	var out bytes.Buffer
	node.Stdout, node.Stderr = &out, &out
	node.WaitDelay = time.Second
	if err := node.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out.Bytes())
	}
	counts := map[string]string{}
	for _, line := range summary.FindAllSubmatch(out.Bytes(), -1) {
		counts[string(line[1])] = string(line[2])
	}
	for _, name := range []string{"fail", "cancelled", "skipped", "todo"} {
		if counts[name] != "0" {
			t.Errorf("%s: %s %q", script, name, counts[name])
		}
	}
	if passed := counts["pass"]; passed == "" || passed == "0" {
		t.Errorf("%s checked nothing:\n%s", script, out.Bytes())
	} else {
		t.Logf("%s checks passed", passed)
	}
}

// answeringHost serves what the checks of socketio.mjs expect.
func answeringHost(t *testing.T, opts twine.Options) *host {
	logger := slog.New(slog.DiscardHandler)
	opts.Engine.AllowEIO3, opts.Engine.CloseTimeout, opts.Logger = true, closeTimeout, logger
	srv := newAnswering(logger, &opts)
	srv.Of("/strict").Use(func(_ context.Context, s *twine.Socket) error {
		var auth struct{ Token string }
		if err := s.Handshake().BindAuth(&auth); err == nil && auth.Token == "right" {
			return nil
		}
		return &twine.ConnectError{Message: "wrong token", Data: map[string]int{"code": 42}}
	})
	srv.OfPattern(regexp.MustCompile(`^/dynamic-\d+$`)).On("name", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		report(logger, e.Ack(s.Namespace().Name()))
	})
	srv.On("askBinary", func(_ context.Context, s *twine.Socket, _ *twine.Event) {
		go giveBack(s)
	})
	srv.On("join", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		var room string
		if report(logger, e.Bind(0, &room)) {
			s.Join(room)
			report(logger, e.Ack())
		}
	})
	srv.On("toRoom", func(_ context.Context, s *twine.Socket, e *twine.Event) {
		var room string
		var news any
		if report(logger, e.Args(&room, &news)) {
			report(logger, s.To(room).Emit("news", news))
		}
	})
	srv.On("toAll", func(_ context.Context, _ *twine.Socket, e *twine.Event) {
		var text string
		if report(logger, e.Bind(0, &text)) {
			report(logger, srv.Emit("all", text))
		}
	})
	srv.On("sendAway", func(_ context.Context, s *twine.Socket, _ *twine.Event) { s.Disconnect(false) })
	srv.On("cutOff", func(_ context.Context, s *twine.Socket, _ *twine.Event) {
		s.Conn().Close(engineio.ReasonForcedClose)
	})
	return hostOf(t, "answering", server{srv, socketIOPath, srv.Close})
}

// giveBack asks for binary values and sends the client what it answered.
func giveBack(s *twine.Socket) {
	reply, err := s.EmitWithAck(s.Context(), "give", []byte{1, 2})
	if err != nil {
		return
	}
	var bin []byte
	var object any
	if reply.Args(&bin, &object) == nil {
		_ = s.Emit("given", bin, object) // it may have left
	}
}

func TestSocketIOClients(t *testing.T) {
	deflate := engineio.Options{PerMessageDeflate: &engineio.PerMessageDeflate{Threshold: 1}}
	for _, tt := range []struct {
		name, npm string
		major     int
		opts      twine.Options
	}{
		{"4", "socket.io-client", 4, twine.Options{Engine: deflate}},
		{"4 with recovery", "socket.io-client", 4, twine.Options{Recovery: new(twine.Recovery)}},
		{"4 with MessagePack", "socket.io-client", 4, twine.Options{Codec: msgpack.Codec}},
		{"4 with both", "socket.io-client", 4, twine.Options{Codec: msgpack.Codec, Recovery: new(twine.Recovery)}},
		{"3", "socket.io-client-3", 3, twine.Options{}},
		{"3 with recovery", "socket.io-client-3", 3, twine.Options{Recovery: new(twine.Recovery)}},
		{"3 with MessagePack", "socket.io-client-3", 3, twine.Options{Codec: msgpack.Codec}},
		{"2", "socket.io-client-2", 2, twine.Options{Engine: deflate}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := answeringHost(t, tt.opts)
			runChecks(t, "socketio.mjs", map[string]any{
				"url": h.url[:len(h.url)-len(socketIOPath)], "package": tt.npm, "major": tt.major,
				"recovery": tt.opts.Recovery != nil, "msgpack": tt.opts.Codec != nil,
			})
		})
	}
}

func TestEngineIOClients(t *testing.T) {
	for _, tt := range []struct {
		name, npm string
		revision  int
	}{
		{"4", "engine.io-client", 4},
		{"3", "engine.io-client-3", 3},
	} {
		t.Run("revision "+tt.name, func(t *testing.T) {
			often := timing{pingInterval: 100 * time.Millisecond, pingTimeout: patience}
			h := hostOf(t, "oracle", oracleServer(slog.New(slog.DiscardHandler), often, tt.revision == 3))
			runChecks(t, "engineio.mjs", map[string]any{
				"url": h.url[:len(h.url)-len(engineIOPath)], "package": tt.npm, "revision": tt.revision,
			})
		})
	}
}
