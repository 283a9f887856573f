//go:build e2e

package deploy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long anything may take that should happen soon, on a slow and busy machine.
	patience = time.Minute
	jsFolder = "../../testdata/js"
	testKey  = "a-key-for-tests"
)

// binary is the twined under test, as the Dockerfile builds it.
var binary string

func TestMain(m *testing.M) {
	status, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		status = 1
	}
	os.Exit(status)
}

func buildAndRun(m *testing.M) (int, error) {
	// Where Debian has daemons, which not every user's path leads to.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin"); err != nil {
		return 0, err
	}
	for _, program := range []string{"node", "haproxy", "nginx", "systemd-analyze"} {
		if _, err := exec.LookPath(program); err != nil {
			return 0, fmt.Errorf("%w: make test installs it", err)
		}
	}
	if _, err := os.Stat(filepath.Join(jsFolder, "node_modules", "socket.io-client")); err != nil {
		return 0, fmt.Errorf("%w: make test installs it", err)
	}
	folder, err := os.MkdirTemp("", "twine-deploy-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "twined")
	if err := buildAsDockerfile(binary); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// eventually polls until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", patience, what)
		}
		<-tick.C
	}
}

// process is a program that runs until the test ends.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{}

	mu     sync.Mutex
	stdout []string // lines
	stderr []string
}

// start runs a command. When the test ends it is asked to end with a signal, or by closing its input if that is 0.
func start(t *testing.T, cmd *exec.Cmd, end syscall.Signal) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	stdin, err := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.collect(stdout, &p.stdout) })
	reading.Go(func() { p.collect(stderr, &p.stderr) })
	go func() {
		defer close(p.exited)
		reading.Wait()
		cmd.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s wrote:\n%s\n%s", filepath.Base(cmd.Path), tail(p.lines(&p.stdout)), tail(p.lines(&p.stderr)))
		}
		if end == 0 {
			stdin.Close()
		} else {
			cmd.Process.Signal(end)
		}
		select {
		case <-p.exited:
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Errorf("%s did not end", cmd.Path)
			<-p.exited
		}
	})
	return p
}

func tail(lines []string) string { return strings.Join(lines[max(0, len(lines)-25):], "\n") }

func (p *process) collect(r io.Reader, into *[]string) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.mu.Lock()
		*into = append(*into, scanner.Text())
		p.mu.Unlock()
	}
}

func (p *process) lines(of *[]string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), *of...)
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// stop sends a signal, and waits for the end.
func (p *process) stop(signal syscall.Signal) {
	p.t.Helper()
	p.cmd.Process.Signal(signal)
	eventually(p.t, "the process ends", p.hasExited)
}

// node is a twined that stands alone.
type node struct {
	*process
	dir, address string
}

// startNode starts a twined on a port that is free, with a data folder of its own.
func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), address: "127.0.0.1:0"}
	n.begin(t)
	return n
}

// begin starts it on its address, which is a free one the first time.
func (n *node) begin(t *testing.T) {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = []string{"TWINE_LISTEN=" + n.address, "TWINE_DATA_DIR=" + n.dir, "TWINE_API_KEY=" + testKey, "TWINE_LOG_FORMAT=json"}
	n.process = start(t, cmd, syscall.SIGTERM)
	eventually(t, "twined listens", func() bool {
		for _, line := range n.lines(&n.stderr) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				n.address = entry.Address
				return true
			}
		}
		if n.hasExited() {
			t.Fatalf("twined does not start: %q", n.lines(&n.stderr))
		}
		return false
	})
}

// freeAddress returns an address where nothing listens at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// nodeClient speaks with nodes. It keeps no connection, for the next request may come after the node has begun anew.
var nodeClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// publish sends a message to a room through a node, past the proxy.
func (n *node) publish(t *testing.T, room string, number int) {
	t.Helper()
	body := fmt.Sprintf(`{"room_id": %q, "payload": {"From": %q, "Number": %d}}`, room, n.address, number)
	request, err := http.NewRequest(http.MethodPost, "http://"+n.address+"/api/twine", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", testKey)
	response, err := nodeClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("publish: %s", response.Status)
	}
}
