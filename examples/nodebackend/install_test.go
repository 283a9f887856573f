//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	t.Setenv("XDG_CACHE_HOME", filepath.Join(folder, "cache"))
	t.Setenv("HOME", folder)
}

func TestCheckNode(t *testing.T) {
	for name, try := range map[string]struct {
		programs map[string]string
		want     string
	}{
		"missing": {nil, "no Node here; install Node 18 or later"},
		"old":     {map[string]string{"node": "echo v16.20.2"}, "v16.20.2, is too old; install Node 18"},
		"broken":  {map[string]string{"node": "exit 3"}, "exit status 3"},
		"strange": {map[string]string{"node": "echo hello"}, "invalid syntax"},
		"oldest":  {map[string]string{"node": "echo v18.0.0"}, ""},
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

// TestInstall: npm is asked once, and again after it has failed.
func TestInstall(t *testing.T) {
	pathWith(t, nil)
	if _, _, err := install(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "npm is missing") {
		t.Errorf("without npm: %v", err)
	}
	pathWith(t, map[string]string{"npm": "echo no network; exit 1"})
	if _, _, err := install(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("npm fails: %v", err)
	}
	const ok = `PATH=/usr/bin:/bin; [ "$1" = ci ] && grep -q twine-server-library package.json && mkdir -p node_modules && touch node_modules/.package-lock.json && echo again >>asked`
	pathWith(t, map[string]string{"npm": ok})
	var folder string
	for range 2 {
		var err error
		if folder, _, err = install(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if asked, err := os.ReadFile(filepath.Join(folder, "asked")); err != nil || string(asked) != "again\n" {
		t.Errorf("npm was asked %q, %v", asked, err)
	}
	for _, name := range []string{"backend.mjs", "page.html", "package.json", "package-lock.json", ".npmrc"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestInstalledModules(t *testing.T) {
	pathWith(t, nil)
	modules := t.TempDir()
	if err := os.WriteFile(filepath.Join(modules, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	folder, remove, err := install(t.Context(), modules)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"backend.mjs", "node_modules/mine"} {
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
			t.Error(err)
		}
	}
	remove()
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", folder, err)
	}
	if _, err := os.Stat(filepath.Join(modules, "mine")); err != nil {
		t.Errorf("what was there already is gone: %v", err)
	}
}
