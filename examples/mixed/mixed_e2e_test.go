//go:build e2e && linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long anything may take that should happen soon, on a slow and busy machine.
	patience = time.Minute
	// buildPatience is how long the example may take until it is up: it builds twined.
	buildPatience = 5 * time.Minute
	modules       = "../../testdata/js/node_modules"
)

// program is this example.
var program string

func TestMain(m *testing.M) { os.Exit(built(m)) }

func built(m *testing.M) int {
	folder, err := os.MkdirTemp("", "mixed-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "mixed")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, patience, what, done)
}

func within(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %s", limit, what)
		}
		<-tick.C
	}
}

// example is the program at work.
type example struct {
	t       *testing.T
	process *exec.Cmd
	scratch string        // where it puts temporary files
	ended   chan struct{} // closed when it has
	servers []string      // addresses: both nodes of twined, then Node
	page    string
	key     string

	mu       sync.Mutex
	out, log bytes.Buffer
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// startExample returns when all servers listen.
func startExample(t *testing.T, args ...string) *example {
	t.Helper()
	e := &example{t: t, scratch: t.TempDir(), ended: make(chan struct{})}
	e.process = exec.Command(program, append([]string{"-listen", "127.0.0.1:0", "-modules", modules}, args...)...)
	e.process.Env = append(os.Environ(), "TMPDIR="+e.scratch)
	e.process.Stdout, e.process.Stderr = locked{&e.mu, &e.out}, locked{&e.mu, &e.log}
	if err := e.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		e.process.Wait()
		close(e.ended)
	}()
	t.Cleanup(func() {
		if !e.hasEnded() {
			e.process.Process.Signal(syscall.SIGTERM) // only a test that failed has left it running
			<-e.ended
		}
		if t.Failed() {
			t.Logf("it wrote:\n%s\n%s", e.text(&e.out), e.text(&e.log))
		}
	})
	line := regexp.MustCompile(`(?m)^(?:twined-1|twined-2|Node) at http://(.*)$`)
	last := regexp.MustCompile(`(?m)^To publish: curl .* -H 'Authorization: (.*?)' .*\n`)
	within(t, buildPatience, "the example is up", func() bool {
		if e.hasEnded() {
			t.Fatal("the example has ended")
		}
		return last.MatchString(e.text(&e.out))
	})
	text := e.text(&e.out)
	for _, found := range line.FindAllStringSubmatch(text, -1) {
		e.servers = append(e.servers, found[1])
	}
	if len(e.servers) != 3 {
		t.Fatalf("the servers are %q", e.servers)
	}
	e.page, e.key = "http://"+e.servers[2], last.FindStringSubmatch(text)[1]
	return e
}

func (e *example) text(of *bytes.Buffer) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return of.String()
}

func (e *example) hasEnded() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// children returns the programs that it runs, by process id.
func (e *example) children() map[int]string {
	e.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		e.t.Fatal(err)
	}
	found := map[int]string{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (program) state parent …
		pid, rest, _ := strings.Cut(string(text), " (")
		end := strings.LastIndex(rest, ") ")
		fields := strings.Fields(rest[end+2:])
		if parent, err := strconv.Atoi(fields[1]); err == nil && parent == e.process.Process.Pid {
			id, err := strconv.Atoi(pid)
			if err != nil {
				e.t.Fatal(err)
			}
			found[id] = rest[:end]
		}
	}
	return found
}

// checkGone checks that nothing of it is left.
func (e *example) checkGone(children map[int]string) {
	e.t.Helper()
	for pid, name := range children {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			e.t.Errorf("%s, process %d, is still there: %v", name, pid, err)
		}
	}
	for _, address := range e.servers {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			e.t.Errorf("something listens on %s", address)
		}
	}
	if left, err := os.ReadDir(e.scratch); err != nil || len(left) > 0 {
		e.t.Errorf("left in the folder for temporary files: %v, %v", left, err)
	}
}

func (e *example) post(url, key string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", key)
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s %s", url, response.Status, answer)
	}
	return nil
}

// publish sends a message through a node of twined, as a backend does.
func (e *example) publish(server int, text string) {
	e.t.Helper()
	body := map[string]any{"room_id": "lobby", "payload": map[string]string{"text": text, "via": "backend"}}
	if err := e.post("http://"+e.servers[server]+"/api/twine", e.key, body); err != nil {
		e.t.Error(err)
	}
}

// say sends a message through any server, as the page does.
func (e *example) say(server int, text string) {
	e.t.Helper()
	if err := e.post(e.page+"/say", "", map[string]any{"server": server, "text": text}); err != nil {
		e.t.Error(err)
	}
}

// listener is an unchanged socket.io-client in the room lobby.
type listener struct {
	mu       sync.Mutex
	joined   bool
	messages []message
}

type message struct {
	Text, Via, Room string
	Timestamp       int64
}

// listen connects a client to a server until the test ends.
func (e *example) listen(server int) *listener {
	e.t.Helper()
	client := exec.Command("node", "subscriber.mjs", "http://"+e.servers[server], `{"package": "socket.io-client", "rooms": ["lobby"]}`)
	client.Dir = filepath.Dir(modules)
	client.Stderr = os.Stderr
	stdin, err := client.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		e.t.Fatal(err)
	}
	l := &listener{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var event []json.RawMessage
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil || len(event) == 0 {
				e.t.Errorf("the client wrote %q: %v", lines.Text(), err)
				continue
			}
			l.take(e.t, event)
		}
	}()
	e.t.Cleanup(func() {
		stdin.Close() // its end is the client's
		<-read
		if err := client.Wait(); err != nil {
			e.t.Error(err)
		}
	})
	return l
}

func (l *listener) take(t *testing.T, event []json.RawMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch string(event[0]) {
	case `"roomJoined"`:
		l.joined = true
	case `"message"`:
		var m message
		if err := json.Unmarshal(event[1], &m); err != nil {
			t.Errorf("a message is %s: %v", event[1], err)
		}
		l.messages = append(l.messages, m)
	}
}

func (l *listener) isJoined() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.joined
}

// counts returns how often each text has come.
func (l *listener) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[string]int{}
	for _, m := range l.messages {
		counts[m.Text]++
	}
	return counts
}
