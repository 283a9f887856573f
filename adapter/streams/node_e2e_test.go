//go:build e2e && redis

package streams

import (
	"bufio"
	"context"
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

	"github.com/redis/go-redis/v9"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
	"github.com/twine-realtime/twine/recovery"
	redislog "github.com/twine-realtime/twine/recovery/redis"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine/parser"
)

// modules is where the packages of Node are: beside the other tests' or, if they
// lack the adapter, installed for this run.
var modules = sync.OnceValues(func() (string, error) {
	shared := filepath.Join("..", "..", "testdata", "js")
	if _, err := os.Stat(filepath.Join(shared, "node_modules", "@socket.io", "redis-streams-adapter")); err == nil {
		return shared, nil
	}
	dir := filepath.Join(os.TempDir(), "twine-streams-node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "redis")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	install := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".",
		"socket.io@4.8.4", "socket.io-client@4.8.4", "@socket.io/redis-streams-adapter@0.3.1", "redis@5")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return dir, nil
})

// nodeServer is a server of Node with one client.
type nodeServer struct {
	t     *testing.T
	stdin io.WriteCloser
	id    string // the client's

	mu    sync.Mutex
	lines []string
}

// startNode starts one; more is a streamCount, and namespaces beside the main one.
func startNode(t *testing.T, redisServer *redistest.Server, more ...string) *nodeServer {
	t.Helper()
	dir, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "server.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command("node", append([]string{script, "redis://" + redisServer.Addr}, more...)...)
	process.Dir, process.Stderr = dir, os.Stderr
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
	ready := n.await(0, `["ready"`)
	_ = json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(ready, `["ready",`), `]`)), &n.id)
	return n
}

// await returns the first line from the given one on that begins so.
func (n *nodeServer) await(from int, prefix string) (line string) {
	n.t.Helper()
	eventually(n.t, prefix, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, l := range n.lines[from:] {
			if strings.HasPrefix(l, prefix) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// wrote says whether there is a line that begins so.
func (n *nodeServer) wrote(prefix string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.lines, func(l string) bool { return strings.HasPrefix(l, prefix) })
}

// do runs a command and returns its result.
func (n *nodeServer) do(name string, args ...any) string {
	n.t.Helper()
	n.mu.Lock()
	from := len(n.lines)
	n.mu.Unlock()
	line, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.stdin.Write(append(line, '\n')); err != nil {
		n.t.Fatal(err)
	}
	prefix := fmt.Sprintf(`["done",%q,`, name)
	return strings.TrimSuffix(strings.TrimPrefix(n.await(from, prefix), prefix), "]")
}

// mixed is a server of ours and one of Node.
func mixed(t *testing.T) (*redistest.Server, *server, *nodeServer) {
	redisServer, servers := cluster(t, 1)
	n := startNode(t, redisServer)
	eventually(t, "the servers know of each other", func() bool {
		count, err := servers[0].ServerCount(t.Context())
		return err == nil && count == 2 && n.do("count") == "2"
	})
	return redisServer, servers[0], n
}

func TestNodeGetsOurBroadcasts(t *testing.T) {
	_, s, n := mixed(t)
	ctx := t.Context()
	for _, p := range []struct {
		p    parser.Packet
		want string
	}{
		{parser.Packet{Data: []byte(`["plain","ü",{"a":[1,null]}]`)}, `["client event","plain","ü",{"a":[1,null]}`},
		{parser.Packet{Data: []byte(`["binary",{"_placeholder":true,"num":0}]`), Attachments: [][]byte{{1, 255}}}, `["client event","binary",{"bytes":[1,255]}`},
	} {
		p.p.Type = parser.Event
		if err := s.Broadcast(ctx, &p.p, rooms("room")); err != nil {
			t.Fatal(err)
		}
		n.await(0, p.want)
	}
	if err := s.Broadcast(ctx, event(`["volatile"]`), adapter.Options{Flags: adapter.Flags{Volatile: true}}); err != nil {
		t.Fatal(err)
	}
	n.await(0, `["client event","volatile"]`)
}

func TestWeGetNodesBroadcasts(t *testing.T) {
	redisServer, s, n := mixed(t)
	m := adaptertest.NewMember("m")
	s.Add(m, "room")
	n.do("emit", "plain", "ü", map[string]any{"a": []int{1}})
	n.do("binary")
	n.do("volatile")
	eventually(t, "all is delivered", func() bool { return len(m.Got()) == 3 })
	// As an emitter does.
	if err := redisServer.Client().XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", Values: []any{"uid", "emitter", "nsp", "/",
		"type", "3", "data", `{"packet":{"type":2,"data":["emitted"],"nsp":"/"},"opts":{"rooms":["room"],"except":[],"flags":{}}}`}}).Err(); err != nil {
		t.Fatal(err)
	}
	want := []string{`["plain","ü",{"a":[1]}]`, `["binary",{"_placeholder":true,"num":0},{"nested":{"_placeholder":true,"num":1}}]`,
		`["volatile"]`, `["emitted"]`}
	eventually(t, "all is delivered", func() bool { return slices.Equal(m.Got(), want) })
	n.await(0, `["client event","emitted"`)
}

func TestRemoteSocketsWithNode(t *testing.T) {
	_, s, n := mixed(t)
	ctx := t.Context()
	m := adaptertest.NewMember("m")
	s.Add(m, "m", "room")
	if err := s.AddSockets(ctx, rooms("room"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the socket of Node has joined", func() bool { return strings.Contains(n.do("rooms"), `"new"`) })
	if err := s.DelSockets(ctx, rooms("new"), []string{"new"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has left", func() bool { return !strings.Contains(n.do("rooms"), `"new"`) })
	n.do("join", "theirs")
	eventually(t, "our socket has joined", func() bool { return slices.Contains(s.SocketRooms("m"), "theirs") })
	n.do("leave", "theirs")
	eventually(t, "it has left", func() bool { return !slices.Contains(s.SocketRooms("m"), "theirs") })

	all, err := s.FetchSockets(ctx, rooms("room"))
	i := slices.IndexFunc(all, func(d adapter.Details) bool { return d.ID == n.id })
	if err != nil || len(all) != 2 || i < 0 {
		t.Fatalf("fetched %+v, %v", all, err)
	}
	var handshake struct{ Headers map[string]string }
	if err := json.Unmarshal(all[i].Handshake, &handshake); err != nil || handshake.Headers["host"] == "" {
		t.Errorf("handshake %s: %v", all[i].Handshake, err)
	}
	if string(all[i].Data) != `{"from":"node"}` || !slices.Contains(all[i].Rooms, "room") {
		t.Errorf("fetched %+v", all[i])
	}
	var theirs []struct {
		ID    string
		Rooms []string
		Data  string
	}
	_ = json.Unmarshal([]byte(strings.ReplaceAll(n.do("fetch"), `{"from":"node"}`, `""`)), &theirs)
	if !slices.ContainsFunc(theirs, func(d struct {
		ID    string
		Rooms []string
		Data  string
	}) bool {
		return d.ID == "m" && d.Data == "m" && slices.Contains(d.Rooms, "room")
	}) {
		t.Errorf("Node fetched %+v", theirs)
	}
	if err := s.DisconnectSockets(ctx, rooms("room"), true); err != nil {
		t.Fatal(err)
	}
	n.await(0, `["client disconnect"`)
}

func TestServerSideEventsWithNode(t *testing.T) {
	_, s, n := mixed(t)
	ctx := t.Context()
	if err := s.ServerSideEmit(ctx, []byte(`["news",1,{"_placeholder":true,"num":0}]`), [][]byte{{7}}); err != nil {
		t.Fatal(err)
	}
	n.await(0, `["server event","news",1,{"bytes":[7]}]`)
	answers, err := s.ServerSideEmitWithAck(ctx, []byte(`["question",42]`), nil)
	if err != nil || len(answers) != 1 || string(answers[0].Data) != `[{"answer":42,"from":"node"}]` {
		t.Errorf("answers %s, %v", answers, err)
	}
	n.do("news", "x", 1)
	eventually(t, "the event arrives", func() bool { return slices.Contains(s.host.got(), `["news","x",1]`) })
	if got := n.do("question", 1); got != `["answer"]` {
		t.Errorf("Node was answered %s", got)
	}
}

func TestAcksWithNode(t *testing.T) {
	_, s, n := mixed(t)
	m := adaptertest.NewMember("m")
	s.Add(m, "room", "ours")
	got := new(acks)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	count, err := s.BroadcastWithAck(ctx, event(`["q",1]`), rooms("room"), got)
	if err != nil || count != 2 {
		t.Errorf("%d answers expected, %v", count, err)
	}
	eventually(t, "both answer", func() bool { return slices.Equal(got.all(), []string{"", "m"}) })
	n.await(0, `["client event","q",1]`)
	// Our member answers with nothing.
	if got := n.do("ask", "ours"); got != `[null]` {
		t.Errorf("Node was answered %s", got)
	}
	if got := n.do("ask", "nobody"); got != `[]` {
		t.Errorf("Node was answered %s", got)
	}
}

// Node's broadcasts are part of our history, and ours, with what we add to
// them, are of Node's, with the same offsets.
func TestHistoryWithNode(t *testing.T) {
	_, s, n := mixed(t)
	var mu sync.Mutex
	var got []recovery.Entry
	log, err := s.stream.NewSequencer(t.Context(), redislog.SequencerOptions{Namespace: "/",
		Deliver: func(entries []recovery.Entry) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, entries...)
		},
		Gap: func(gap *recovery.GapError) { t.Error(gap) }})
	if err != nil {
		t.Fatal(err)
	}
	start := log.Handed()
	n.do("emit", "theirs", 1)
	// Node may still have it to send when it has emitted it.
	eventually(t, "it is in the log", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == 1
	})
	offset, _, err := log.Publish(t.Context(), recovery.Entry{ID: "key", Rooms: []string{"room"}, Data: []byte(`["ours",2]`)})
	if err != nil {
		t.Fatal(err)
	}
	n.await(0, fmt.Sprintf(`["client event","ours",2,%q]`, offset))
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 2 || string(got[0].Data) != `["theirs",1]` || got[1].ID != "key" {
		t.Fatalf("handed out %v", got)
	}
	n.await(0, fmt.Sprintf(`["client event","theirs",1,%q]`, got[0].Offset))
	page, err := log.Read(t.Context(), "/", recovery.Query{After: start, Rooms: []string{"room"}})
	if err != nil || fmt.Sprint(page.Entries) != fmt.Sprint(got) {
		t.Errorf("read %v, %v", page.Entries, err)
	}
}
