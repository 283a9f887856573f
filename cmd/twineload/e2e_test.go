//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runTool runs the tool as its user does, with a twined that is built once.
func runTool(t *testing.T, args string) *result {
	t.Helper()
	s := parse(t, args)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, err := run(ctx, s, newProgress(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() || len(r.Broken) > 0 {
		_ = r.print(os.Stderr)
	}
	return r
}

func TestRealLoad(t *testing.T) {
	twined := filepath.Join(t.TempDir(), "twined")
	if out, err := exec.Command("go", "build", "-o", twined, "github.com/twine-realtime/twine/cmd/twined").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("two servers, mixed transports, cuts", func(t *testing.T) {
		r := runTool(t, "--local 2 --users 300 --rooms 6 --ramp 1s --hold 500ms --publish 3s --rate 5 --cut 0.5 --cut-within 2s --backoff 200ms "+
			"--transport mixed --workers 2 --twined "+twined)
		if len(r.Broken) > 0 || r.Expected != 300*15 || r.Received != r.Expected || r.Cut != 150 || r.Recovered != 150 || r.Connects != 450 {
			t.Errorf("%+v", r)
		}
		if r.Delivery.Count+r.Late.Count != r.Received || r.Back.Count != 150 || r.Answer.Count != 90 || r.Storm == nil || r.KBUser <= 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("one server, batches", func(t *testing.T) {
		r := runTool(t, "--local 1 --users 200 --rooms 200 --ramp 1s --hold 0s --publish 3s --rate 5 --batch 20 --cut 0.5 --cut-within 2s --backoff 200ms --twined "+twined)
		if len(r.Broken) > 0 || r.Requests != 150 || r.Published != 200*15 || r.Received != 200*15 || r.Recovered != 100 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a cluster of which a server is killed", func(t *testing.T) {
		r := runTool(t, "--cluster 3 --users 300 --rooms 30 --ramp 1s --hold 0s --publish 5s --rate 5 --kill-after 1s --backoff 200ms --workers 2 --twined "+twined)
		if len(r.Broken) > 0 || r.Received != 300*25 || r.Killed != 100 || r.Recovered != 100 || r.Storm == nil || r.Storm.AllBack <= 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("publishing from the start, without a cookie", func(t *testing.T) {
		r := runTool(t, "--local 1 --users 100 --rooms 1 --ramp 2s --hold 0s --publish 1s --rate 20 --publish-during-ramp --no-cookie --transport polling --twined "+twined)
		if len(r.Broken) > 0 || r.Published != 60 || r.Received >= 60*100 || r.Received < 20*100 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a given server, from the command line", func(t *testing.T) {
		s, err := startServers(t.Context(), &settings{Local: 1, Twined: twined})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.stop(false); err != nil {
				t.Error(err)
			}
		}()
		file := filepath.Join(t.TempDir(), "result.json")
		args := []string{"--url", s.processes[0].URL, "--api-key", s.key, "--users", "50", "--ramp", "1s", "--hold", "0s", "--publish", "2s", "--json", file}
		ok, err := lead(t.Context(), args)
		text, readErr := os.ReadFile(file)
		var r result
		if err != nil || !ok || readErr != nil || json.Unmarshal(text, &r) != nil || r.Received != 100 {
			t.Errorf("%v %v %v %s", ok, err, readErr, text)
		}
		if strings.Contains(string(text), s.key) {
			t.Error("the key is in the result")
		}
		args[3] = "wrong"
		if _, err := lead(t.Context(), args); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("with a wrong key: %v", err)
		}
	})
}

// A server that dies ends the run with what it said, and with no process left.
func TestServerThatCannotStart(t *testing.T) {
	s := parse(t, "--local 1 --users 10 --server-arg=--drain=-1s")
	if _, err := run(t.Context(), s, newProgress(os.Stderr)); err == nil || !strings.Contains(err.Error(), "--drain") {
		t.Error(err)
	}
}
