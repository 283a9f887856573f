//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// patience is how long anything may take that should happen soon, on a slow and busy machine.
	patience = time.Minute
	// buildPatience is how long a program may take until it is up that builds twined before.
	buildPatience = 5 * time.Minute
	jsFolder      = "../../../testdata/js"
)

// binary is the twined under test.
var binary string

func TestMain(m *testing.M) {
	status, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		status = 1
	}
	os.Exit(status)
}

func buildAndRun(m *testing.M) (int, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return 0, err
	}
	if _, err := os.Stat(chromium()); err != nil {
		return 0, fmt.Errorf("%w: make test installs it", err)
	}
	if _, err := os.Stat(filepath.Join(jsFolder, "node_modules", "socket.io-client")); err != nil {
		return 0, fmt.Errorf("%w: make test installs it", err)
	}
	folder, err := os.MkdirTemp("", "twined-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "twined")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, "github.com/twine-realtime/twine/cmd/twined").CombinedOutput(); err != nil {
		return 0, errors.Join(err, errors.New(string(out)))
	}
	return m.Run(), nil
}

func chromium() string {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	return "/usr/bin/chromium"
}

// eventually polls until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", limit, what)
		}
		<-tick.C
	}
}
