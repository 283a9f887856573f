//go:build e2e && redis

package pubsub

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nodeServer is a process of Node: a server with one client on each server of the cluster, and an emitter.
type nodeServer struct {
	t     *testing.T
	stdin io.WriteCloser

	mu    sync.Mutex
	lines []string
}

func startNode(t *testing.T, args ...string) *nodeServer {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "server.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command("node", append([]string{script}, args...)...)
	process.Dir, process.Stderr = filepath.Join("..", "..", "testdata", "js"), os.Stderr
	n := &nodeServer{t: t}
	if n.stdin, err = process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			n.mu.Lock()
			n.lines = append(n.lines, scanner.Text())
			n.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		n.stdin.Close()
		<-ended
		if err := process.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
		if t.Failed() {
			t.Logf("node wrote:\n%s", strings.Join(n.lines, "\n"))
		}
	})
	n.await(t, 0, `["ready"`)
	return n
}

// await returns the first line from the given one on that begins so.
func (n *nodeServer) await(t *testing.T, from int, prefixes ...string) (line string) {
	t.Helper()
	eventually(t, strings.Join(prefixes, " or "), func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, l := range n.lines[from:] {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(l, p) }) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// mark is where the lines that are yet to come begin.
func (n *nodeServer) mark() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.lines)
}

// count returns how many lines there are like this one.
func (n *nodeServer) count(line string) (found int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lines {
		if l == line {
			found++
		}
	}
	return found
}

// do runs a command and returns its result.
func (n *nodeServer) do(t *testing.T, name string, args ...any) string {
	t.Helper()
	from := n.mark()
	line, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.stdin.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	done := fmt.Sprintf(`["done",%q,`, name)
	got := n.await(t, from, done, fmt.Sprintf(`["failed",%q,`, name))
	if !strings.HasPrefix(got, done) {
		t.Fatalf("%s: %s", line, got)
	}
	return strings.TrimSuffix(strings.TrimPrefix(got, done), "]")
}
