package target

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// Node returns the reference server, socket.io with connection state recovery, as a Target. It needs testdata/js of this
// module with its packages installed.
func Node(ctx context.Context, opts Options) (Target, error) {
	return nodeProcess(ctx, opts, "check-server.mjs")
}

// nodeProcess makes a process of a script in testdata/js, which gets the port, the key and more arguments.
func nodeProcess(ctx context.Context, opts Options, script string, args ...string) (*process, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("look for the module: %w", err)
	}
	dir := filepath.Join(string(bytes.TrimSpace(out)), "testdata", "js")
	description, err := os.ReadFile(filepath.Join(dir, "node_modules", "socket.io", "package.json"))
	if err != nil {
		return nil, fmt.Errorf("socket.io is not installed, run npm ci in testdata/js: %w", err)
	}
	var pkg struct{ Version string }
	if err := json.Unmarshal(description, &pkg); err != nil {
		return nil, fmt.Errorf("version of socket.io: %w", err)
	}
	p, err := newProcess("Node socket.io "+pkg.Version, opts.Keep)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(p.addr)
	p.command = func() *exec.Cmd {
		return exec.Command("node", append([]string{filepath.Join(dir, script), port, p.key}, args...)...)
	}
	return p, nil
}
