//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pathWith makes the given programs, shell scripts, all that can be found.
func pathWith(t *testing.T, programs map[string]string) {
	t.Helper()
	folder := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", folder)
}

func TestCheckNode(t *testing.T) {
	for name, try := range map[string]struct {
		programs map[string]string
		want     string
	}{
		"missing": {nil, "no Node here; install Node 18 or later"},
		"old":     {map[string]string{"node": "echo v16.20.2"}, "v16.20.2, is too old; install Node 18"},
		"broken":  {map[string]string{"node": "exit 3"}, "exit status 3"},
		"strange": {map[string]string{"node": "echo hello"}, `"hello", which is no version`},
		"oldest":  {map[string]string{"node": "echo v18.19.0"}, ""},
		"new":     {map[string]string{"node": "echo v104.1.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pathWith(t, try.programs)
			err := checkNode(t.Context())
			if (err == nil) != (try.want == "") || err != nil && !strings.Contains(err.Error(), try.want) {
				t.Errorf("got %v, want %q", err, try.want)
			}
		})
	}
}

// TestInstallHere: npm is asked once, again after it has failed, and again for another lock file.
func TestInstallHere(t *testing.T) {
	here := t.TempDir()
	lock := filepath.Join(here, "package-lock.json")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	goList := "echo " + here
	pathWith(t, map[string]string{"go": goList})
	if _, err := install(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "npm is missing") {
		t.Errorf("without npm: %v", err)
	}
	pathWith(t, map[string]string{"go": goList, "npm": "echo no network; exit 1"})
	if _, err := install(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("npm fails: %v", err)
	}
	const ok = `PATH=/usr/bin:/bin; [ "$1" = ci ] && mkdir -p node_modules && touch node_modules/.package-lock.json && echo again >>asked`
	pathWith(t, map[string]string{"go": goList, "npm": ok})
	asked := func(want string) {
		t.Helper()
		folder, err := install(t.Context(), "", "")
		if err != nil || folder != here {
			t.Fatalf("%s, %v", folder, err)
		}
		if text := read(t, filepath.Join(here, "asked")); text != want {
			t.Errorf("npm was asked %q, want %q", text, want)
		}
	}
	asked("again\n")
	asked("again\n")
	if err := os.Chtimes(lock, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	asked("again\nagain\n")

	pathWith(t, map[string]string{"go": "exit 1"})
	if _, err := install(t.Context(), "", ""); err == nil || !strings.Contains(err.Error(), "inside of the repository") {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestInstalledModules(t *testing.T) {
	modules, scratch := t.TempDir(), t.TempDir()
	if _, err := install(t.Context(), modules, scratch); err == nil || !strings.Contains(err.Error(), "-modules: ") {
		t.Errorf("a folder without socket.io: %v", err)
	}
	if err := os.Mkdir(filepath.Join(modules, "socket.io"), 0o755); err != nil {
		t.Fatal(err)
	}
	folder, err := install(t.Context(), modules, scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"server.mjs", "page.mjs", "package.json", "page/page.js", "node_modules/socket.io"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	if !strings.HasPrefix(folder, scratch) {
		t.Errorf("%s is not removed in the end", folder)
	}
}

// TestWithout: what is missing is said before anything is built.
func TestWithout(t *testing.T) {
	modules := t.TempDir()
	if err := os.Mkdir(filepath.Join(modules, "socket.io"), 0o755); err != nil {
		t.Fatal(err)
	}
	const node = "echo v20.0.0"
	for name, try := range map[string]struct {
		programs map[string]string
		o        options
		want     string
	}{
		"Node":        {nil, options{}, "there is no Node here"},
		"Redis":       {map[string]string{"node": node}, options{}, "redis-server is not installed: install it"},
		"a Redis URL": {map[string]string{"node": node}, options{redisURL: "localhost:6379"}, "want redis://user:password@host:port/0"},
		"an answer":   {map[string]string{"node": node}, options{redisURL: "redis://:secret@127.0.0.1:1/0"}, "no Redis at redis://:xxxxx@127.0.0.1:1/0"},
		"an end":      {map[string]string{"node": node, "redis-server": "echo out of memory; exit 3"}, options{}, "redis-server ended: exit status 3\nout of memory"},
		"an address":  {map[string]string{"node": node}, options{listen: "nonsense"}, "choose another address with -listen"},
		"a pause":     {nil, options{every: time.Microsecond}, "less than a millisecond"},
	} {
		t.Run(name, func(t *testing.T) {
			pathWith(t, try.programs)
			t.Setenv("TMPDIR", t.TempDir())
			o := options{listen: "127.0.0.1:0", modules: modules, every: time.Second, redisURL: try.o.redisURL}
			if try.o.listen != "" {
				o.listen = try.o.listen
			}
			if try.o.every != 0 {
				o.every = try.o.every
			}
			err := run(t.Context(), o, os.Stderr)
			if err == nil || !strings.Contains(err.Error(), try.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, try.want)
			}
			if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}
