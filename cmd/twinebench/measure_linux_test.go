package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// small is a round that takes no time.
var small = settings{Clients: 100, Rounds: 1, MessageSize: 100, Burst: 20, Paced: 5, Interval: time.Millisecond, Settle: time.Millisecond}

func measureSmall(t *testing.T, server, jsDir string, set settings) sample {
	t.Helper()
	set.jsDir = jsDir
	command, err := set.commandOf(server)
	if err != nil {
		t.Fatal(err)
	}
	of := &result{Server: server, command: command}
	ctx, cancel := context.WithTimeout(context.Background(), roundTimeout)
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
	for _, server := range []string{"twine", "recovery", "engineio"} {
		t.Run(server, func(t *testing.T) {
			measureSmall(t, server, "", small)
		})
	}
}

func TestScenarios(t *testing.T) {
	set := small
	set.Publish, set.Restored, set.Replayed, set.DataDir, set.profiles = 50*time.Millisecond, 100, 1000, t.TempDir(), t.TempDir()
	all, err := newFindings([]string{"publish", "http", "restore", "replay"}, set)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		t.Run(f.Scenario, func(t *testing.T) {
			if err := f.round(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			for _, row := range f.scenario.rows {
				value, ok := f.Samples[0][row.key]
				if mayBeZero := row.key == "retries" || row.key == "memory" || row.key == "mapped"; !ok || value <= 0 && !mayBeZero {
					t.Errorf("%s: %v", row.what, value)
				}
			}
			if left, err := os.ReadDir(set.DataDir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if _, err := newFindings([]string{"sleep"}, set); err == nil {
		t.Error("an unknown scenario is no error")
	}
}

func TestOthers(t *testing.T) {
	others, err := withOthers(func() error { return pause(t.Context(), 50*time.Millisecond) })
	// What is counted and when are not read at the same moment, so a busy machine seems to have more processors.
	if err != nil || others < 0 || others > 4*float64(runtime.NumCPU()) {
		t.Errorf("%v, %v", others, err)
	}
	failure := errors.New("failure")
	if _, err := withOthers(func() error { return failure }); err != failure {
		t.Errorf("got %v", err)
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
	command, err := ownCommand("twine")
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
		if _, err := ownCommand(server); err == nil {
			t.Errorf("%q: no error", server)
		}
	}
	for _, server := range []string{"node", "node-streams"} {
		if _, err := (&settings{jsDir: t.TempDir(), peersDir: t.TempDir()}).commandOf(server); err == nil || !strings.Contains(err.Error(), "npm ci") {
			t.Errorf("without packages: %v", err)
		}
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	command, err := ownCommand("twine")
	if err != nil {
		t.Fatal(err)
	}
	command[len(command)-1] = "nginx"
	if _, err := startChild(context.Background(), command); err == nil {
		t.Error("no error")
	}
}

func TestChildRefusesBadCommands(t *testing.T) {
	command, err := ownCommand("twine")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startChild(context.Background(), command)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"", "nonsense", "emit", "emit 1", "emit x 100", "emit 1 -1", "stats 1", "profile", "profile /", "heap /", "publish", "publish 1 1 100"} {
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
