//go:build e2e

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The reference server does the same work, counted and checked in the same way.
func TestRunBesideNode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	args := []string{"--quick", "--clients", "50", "--json", file, "--js-dir", "../../testdata/js",
		"--servers", "twine,recovery,node", "--scenarios", "publish,http,restore,replay"}
	var out strings.Builder
	if err := run(context.Background(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"50 connections", "node: socket.io 4.8", "node/twine"} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("%q is not in\n%s", s, out.String())
		}
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("results: %v", err)
	}
}
