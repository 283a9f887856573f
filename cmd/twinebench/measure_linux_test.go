package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// small is a round that takes no time.
var small = settings{Clients: 100, Rounds: 1, MessageSize: 100, Burst: 20, Paced: 5, Interval: time.Millisecond, Settle: time.Millisecond}

func measureSmall(t *testing.T, server, jsDir string, set settings) sample {
	t.Helper()
	command, err := commandOf(server, jsDir)
	if err != nil {
		t.Fatal(err)
	}
	of := &result{Server: server, command: command}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := measure(ctx, set, of)
	if err != nil {
		t.Fatal(err)
	}
	if s.Burst <= 0 || s.Paced <= 0 || s.Connect <= 0 || s.Elapsed <= 0 || of.Name == "" {
		t.Errorf("%q: %+v", of.Name, s)
	}
	return s
}

func TestMeasure(t *testing.T) {
	for _, server := range []string{"twine", "engineio"} {
		t.Run(server, func(t *testing.T) {
			measureSmall(t, server, "", small)
		})
	}
}

func TestMeasureWritesProfiles(t *testing.T) {
	set := small
	set.profiles = t.TempDir()
	measureSmall(t, "twine", "", set)
	for _, name := range []string{"connect.pprof", "idle.pprof", "idle.pprof.txt", "burst.pprof", "paced.pprof"} {
		info, err := os.Stat(filepath.Join(set.profiles, "twine-"+name))
		if err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	command, err := commandOf("twine", "")
	if err != nil {
		t.Fatal(err)
	}
	set, enough := small, errors.New("enough")
	set.Settle = time.Hour
	ctx, cancel := context.WithTimeoutCause(context.Background(), 500*time.Millisecond, enough)
	defer cancel()
	if _, err := measure(ctx, set, &result{Server: "twine", command: command}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownServer(t *testing.T) {
	for _, server := range []string{"", "nginx"} {
		if _, err := commandOf(server, ""); err == nil {
			t.Errorf("%q: no error", server)
		}
	}
	if _, err := commandOf("node", t.TempDir()); err == nil || !strings.Contains(err.Error(), "npm ci") {
		t.Errorf("without packages: %v", err)
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	command, err := commandOf("twine", "")
	if err != nil {
		t.Fatal(err)
	}
	command[len(command)-1] = "nginx"
	if _, err := startChild(context.Background(), command); err == nil {
		t.Error("no error")
	}
}

func TestChildRefusesBadCommands(t *testing.T) {
	command, err := commandOf("twine", "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startChild(context.Background(), command)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "nonsense", "emit", "emit 1", "emit x 100", "emit 1 -1", "stats 1", "profile", "profile /", "heap /"} {
		if r, err := c.do(line); err == nil {
			t.Errorf("%q: got %+v", line, r)
		}
	}
	// It still works.
	if r, err := c.do("emit", 2, 100); err != nil || r.Next != 3 || r.CPU == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}
