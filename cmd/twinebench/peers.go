package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// commandOf returns the command line of a server under test, that of recovery without its data folder and those of
// clusters without the URL of their Redis.
func (set *settings) commandOf(server string) ([]string, error) {
	switch server {
	case "node":
		return nodeCommand(set.jsDir, "bench-server.mjs", "socket.io")
	case "node-streams":
		return nodeCommand(filepath.Join(set.peersDir, "node"), "cluster-server.mjs", filepath.Join("@socket.io", "redis-streams-adapter"))
	case "centrifuge":
		if set.peer == "" {
			return nil, errors.New("centrifuge is not built")
		}
		return []string{set.peer}, nil
	}
	return ownCommand(server)
}

// ownCommand returns the command line of a server of this program.
func ownCommand(server string) ([]string, error) {
	if !slices.Contains(subjects, server) {
		return nil, fmt.Errorf("unknown server %q", server)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return []string{self, "serve", server}, nil
}

func nodeCommand(dir, script, needs string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, "node_modules", needs)); err != nil {
		return nil, fmt.Errorf("the reference server is not installed (run npm ci in %s): %w", dir, err)
	}
	return []string{"node", "--expose-gc", filepath.Join(dir, script)}, nil
}

// preparePeers builds what is not part of this module. remove takes it away again.
func (set *settings) preparePeers(ctx context.Context) (remove func() error, err error) {
	if !slices.Contains(set.servers, "centrifuge") {
		return func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp("", "twinebench-peer-")
	if err != nil {
		return nil, err
	}
	program := filepath.Join(dir, "centrifuge")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(set.peersDir, "centrifuge")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build of the peer centrifuge (--servers twine,recovery,node does without): %w\n%s", err, out), os.RemoveAll(dir))
	}
	set.peer = program
	return func() error { return os.RemoveAll(dir) }, nil
}
