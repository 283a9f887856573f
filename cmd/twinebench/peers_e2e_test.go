//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The peers do the same work, counted and checked in the same way, and the whole is written down.
func TestRunBesidePeers(t *testing.T) {
	t.Chdir("../..") // as the command is run
	dir := t.TempDir()
	args := []string{"--quick", "--clients", "50", "--out", dir, "--micro=false", "--servers", "twine,centrifuge", "--scenarios", "streams,node-streams"}
	var out, progress strings.Builder
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	for _, s := range []string{"50 connections", "centrifuge: centrifuge v0.40", "centrifuge/twine", "redis-streams-adapter, two nodes"} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("%q is not in\n%s", s, out.String())
		}
	}
	for pattern, says := range map[string]string{"20*.md": "node ÷ twine", "20*.json": `"scenario": "node-streams"`, "latest.svg": "over Redis Streams"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) != 1 {
			t.Errorf("%s: %q, %v", pattern, files, err)
			continue
		}
		if text, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(text), says) {
			t.Errorf("%s: %q is not in it, %v\n%s", pattern, says, err, text)
		}
	}
}
