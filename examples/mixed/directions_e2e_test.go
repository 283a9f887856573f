//go:build e2e && linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestAllDirections: what is sent through one server arrives at the clients of all three, once; and the end is the end of all.
func TestAllDirections(t *testing.T) {
	t.Parallel()
	e := startExample(t, "-every", "100ms")
	children := e.children()
	if names := fmt.Sprint(sortedNames(children)); names != "[node redis-server twined twined]" {
		t.Errorf("it runs %s", names)
	}
	var clients []*listener
	for server := range e.servers {
		clients = append(clients, e.listen(server))
	}
	for _, c := range clients {
		eventually(t, "the client has joined", c.isJoined)
	}
	// Node begins to read the stream some time after it listens, and says nothing about it: what comes until then it misses.
	for n := 0; clients[2].counts()[fmt.Sprint("begun ", n)] == 0; n++ {
		e.publish(0, fmt.Sprint("begun ", n+1))
		eventually(t, "a message has come to a client of twined", func() bool { return clients[0].counts()[fmt.Sprint("begun ", n+1)] > 0 })
		if n > 1000 {
			t.Fatal("nothing comes to Node's client")
		}
	}

	const rounds = 20
	sent := []string{}
	var sending sync.WaitGroup
	for server := range e.servers {
		ways := map[string]func(int, string){"said": e.say}
		if server < nodes {
			ways["published"] = e.publish
		}
		for way, send := range ways {
			for round := range rounds {
				sent = append(sent, fmt.Sprintf("%s through %d: %d", way, server, round))
			}
			sending.Go(func() {
				for round := range rounds {
					send(server, fmt.Sprintf("%s through %d: %d", way, server, round))
				}
			})
		}
	}
	sending.Wait()
	ticksBefore := lastTick(clients[2].counts())
	for i, c := range clients {
		for _, text := range sent {
			eventually(t, fmt.Sprintf("%q comes to client %d", text, i), func() bool { return c.counts()[text] > 0 })
		}
	}
	// Had something been on its way a second time, it had come before a later message.
	for server := range e.servers {
		e.say(server, fmt.Sprint("last through ", server))
	}
	for i, c := range clients {
		eventually(t, fmt.Sprintf("the last messages and a tick come to client %d", i), func() bool {
			counts := c.counts()
			return counts["last through 0"] > 0 && counts["last through 1"] > 0 && counts["last through 2"] > 0 && lastTick(counts) > ticksBefore
		})
		counts := c.counts()
		for text, n := range counts {
			if n != 1 {
				t.Errorf("%q came to client %d %d times", text, i, n)
			}
		}
		for n := firstTick(counts); n <= lastTick(counts); n++ {
			if counts[fmt.Sprint("tick ", n)] != 1 {
				t.Errorf("tick %d came to client %d %d times", n, i, counts[fmt.Sprint("tick ", n)])
			}
		}
		c.checkForm(t, i)
	}
	e.checkHistory(sent)
	e.checkRefusals()
	e.checkPage()

	e.process.Process.Signal(syscall.SIGINT)
	eventually(t, "the example ends", e.hasEnded)
	if status := e.process.ProcessState.ExitCode(); status != 0 || e.text(&e.log) != "" {
		t.Errorf("it ended with status %d, and wrote %q", status, e.text(&e.log))
	}
	e.checkGone(children)
}

func sortedNames(children map[int]string) (names []string) {
	for _, name := range children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func ticks(counts map[string]int) (numbers []int) {
	for text := range counts {
		var n int
		if _, err := fmt.Sscanf(text, "tick %d", &n); err == nil {
			numbers = append(numbers, n)
		}
	}
	return append(numbers, 0)
}

func lastTick(counts map[string]int) int { return slices.Max(ticks(counts)) }

// firstTick returns 1 if there was none.
func firstTick(counts map[string]int) int {
	numbers := ticks(counts)
	slices.Sort(numbers)
	return append(numbers, 1)[1]
}

// checkForm: messages look the same, wherever they come from.
func (l *listener) checkForm(t *testing.T, client int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.messages {
		want := "Node"
		switch {
		case strings.HasPrefix(m.Text, "said through 0") || m.Text == "last through 0":
			want = "twined-1"
		case strings.HasPrefix(m.Text, "said through 1") || m.Text == "last through 1":
			want = "twined-2"
		case strings.HasPrefix(m.Text, "published") || strings.HasPrefix(m.Text, "begun"):
			want = "backend"
		}
		if m.Via != want || m.Room != "lobby" || m.Timestamp == 0 {
			t.Errorf("client %d got %+v", client, m)
		}
	}
}

// checkHistory: the nodes of twined remember what came through Node too.
func (e *example) checkHistory(sent []string) {
	e.t.Helper()
	for server := range nodes {
		request, err := http.NewRequest("GET", "http://"+e.servers[server]+"/v1/rooms/lobby/history?limit=1000", nil)
		if err != nil {
			e.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+e.key)
		client := &http.Client{Timeout: patience}
		response, err := client.Do(request)
		if err != nil {
			e.t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			e.t.Fatalf("history: %s %s %v", response.Status, text, err)
		}
		for _, message := range sent {
			if n := strings.Count(string(text), fmt.Sprintf("%q", message)); n != 1 {
				e.t.Errorf("%q is %d times in the history of node %d", message, n, server)
			}
		}
	}
}

// TestServerEnds: the example goes on without none of its servers.
func TestServerEnds(t *testing.T) {
	t.Parallel()
	e := startExample(t)
	children := e.children()
	for pid, name := range children {
		if name == "node" {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	eventually(t, "the example ends", e.hasEnded)
	if status := e.process.ProcessState.ExitCode(); status != 1 || !strings.Contains(e.text(&e.log), "mixed: Node ended: signal: killed") {
		t.Errorf("it ended with status %d", status)
	}
	e.checkGone(children)
}

// checkRefusals: what the page's server does not take.
func (e *example) checkRefusals() {
	e.t.Helper()
	for _, body := range []any{nil, 1, map[string]any{"server": 3, "text": "x"}, map[string]any{"server": "length", "text": "x"},
		map[string]any{"server": 0, "text": ""}, map[string]any{"server": 0, "text": strings.Repeat("x", 501)}} {
		if err := e.post(e.page+"/say", "", body); err == nil || !strings.Contains(err.Error(), "400") {
			e.t.Errorf("%v: %v", body, err)
		}
	}
	response, err := http.Post(e.page+"/say", "text/plain", strings.NewReader(`{"server": 0, "text": "x"}`))
	if err != nil {
		e.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		e.t.Errorf("as another site sends it: %s", response.Status)
	}
	second := exec.Command(program, "-modules", modules, "-listen", e.servers[2])
	second.Env = append(os.Environ(), "TMPDIR="+e.scratch) // which is to be empty in the end
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "choose another address with -listen") {
		e.t.Errorf("on the same address: %v\n%s", err, out)
	}
}
