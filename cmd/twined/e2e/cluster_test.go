//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

const clusterKey = "the-clusters-key"

// startCluster starts nodes that share a Redis.
func startCluster(t *testing.T, redis *redistest.Server, nodes int, args ...string) (all []*daemon) {
	t.Helper()
	for range nodes {
		d := startDaemon(t, append([]string{"--redis-url", "redis://" + redis.Addr, "--api-key", clusterKey}, args...)...)
		d.key = clusterKey
		all = append(all, d)
	}
	return all
}

// startHAProxy puts haproxy in front of nodes: each request goes to the next one.
func startHAProxy(t *testing.T, nodes []*daemon) (url string) {
	t.Helper()
	port := redistest.FreePort(t)
	config := fmt.Sprintf(`
defaults
    mode http
    timeout connect 10s
    timeout check 10s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend all
    bind 127.0.0.1:%d
    default_backend nodes
backend nodes
    balance roundrobin
    option redispatch
    option httpchk GET /readyz
    default-server check inter 100ms fall 1 rise 1
`, port)
	for i, d := range nodes {
		config += fmt.Sprintf("    server node%d %s\n", i, d.host)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("haproxy", "-f", path)
	if err := process.Start(); err != nil {
		t.Fatalf("%v: make test installs it", err)
	}
	t.Cleanup(func() {
		process.Process.Signal(syscall.SIGTERM)
		process.Wait()
	})
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(t, "haproxy passes requests on", func() bool {
		response, err := http.Get(url + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return url
}

// inOrder checks that the messages of a subscriber are numbered without a gap, and returns the last number.
func inOrder(t *testing.T, n *node) int {
	t.Helper()
	numbers := messageNumbers(t, n)
	for i, number := range numbers {
		if number != numbers[0]+i {
			t.Fatalf("message %d follows %d", number, numbers[i-1])
		}
	}
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

// TestNoStickySessions: requests of one client, its upgrade among them, reach any node.
func TestNoStickySessions(t *testing.T) {
	nodes := startCluster(t, redistest.Start(t), 3)
	url := startHAProxy(t, nodes)
	for name, options := range variants {
		t.Run(name, func(t *testing.T) {
			stream := startPacedStream(t, nodes[0], name)
			settings, err := json.Marshal(map[string]any{"package": "socket.io-client", "options": options, "rooms": []string{name}})
			if err != nil {
				t.Fatal(err)
			}
			var clients []*node
			for range 4 {
				clients = append(clients, startNode(t, "subscriber.mjs", url, string(settings)))
			}
			for _, c := range clients {
				c.waitEvent("roomJoined", 1)
				if name == "upgrade" {
					c.waitEvent("upgrade", 1)
				}
			}
			goal := stream.last() + 30
			for _, c := range clients {
				eventually(t, "messages", func() bool { return inOrder(t, c) >= goal })
				if got := len(c.events("disconnect")) + len(c.events("connect_error")); got > 0 {
					t.Errorf("%d disconnects or errors", got)
				}
			}
		})
	}
}

// TestNodeIsKilled: its clients go on at another one, with their ids, their rooms and what they missed.
func TestNodeIsKilled(t *testing.T) {
	redis := redistest.Start(t)
	nodes := startCluster(t, redis, 1, longReplay...)
	doomed := launch(t, filepath.Join(t.TempDir(), "data"), append([]string{"--redis-url", "redis://" + redis.Addr, "--api-key", clusterKey}, longReplay...)...)
	url := startHAProxy(t, append(nodes, doomed))
	stream := startStubbornStream(t, nodes[0], "r")
	var clients []*node
	for range 6 {
		clients = append(clients, startNode(t, "subscriber.mjs", url,
			`{"package": "socket.io-client", "options": {"transports": ["websocket"], "reconnectionDelay": 100}, "rooms": ["r"], "once": true}`))
	}
	for _, c := range clients {
		c.waitEvent("message", 5)
	}
	doomed.kill()
	goal := stream.last() + 100
	cut := 0
	for _, c := range clients {
		eventually(t, "messages go on", func() bool { return inOrder(t, c) >= goal })
		connects := c.events("connect")
		if len(connects) == 1 {
			continue
		}
		cut++
		var recovered bool
		if err := json.Unmarshal(connects[1][2], &recovered); err != nil || !recovered || connects[1].text(1) != connects[0].text(1) {
			t.Errorf("not recovered: %s", connects[1])
		}
	}
	if cut != 3 {
		t.Errorf("%d clients were cut off, want half of them", cut)
	}
}

// TestRedisGoesAway: publishers are told to try again, load balancers to look elsewhere, and nothing that was accepted is lost.
func TestRedisGoesAway(t *testing.T) {
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	nodes := startCluster(t, redis, 2)
	c := startNode(t, "subscriber.mjs", nodes[1].url(),
		`{"package": "socket.io-client", "options": {"transports": ["websocket"], "reconnectionDelay": 100}, "rooms": ["r"]}`)
	c.waitEvent("roomJoined", 1)
	stream := startStubbornStream(t, nodes[0], "r")
	c.waitEvent("message", 20)
	ready := func(d *daemon, want int, reason string) {
		t.Helper()
		eventually(t, "readiness", func() bool {
			response, text := d.do(t, "GET", "/readyz", nil, nil)
			return response.StatusCode == want && text == reason
		})
	}
	redis.Kill()
	for _, d := range nodes {
		ready(d, 503, "Redis is out of reach")
		if response, _ := d.do(t, "GET", "/healthz", nil, nil); response.StatusCode != 200 {
			t.Errorf("healthz: %s", response.Status)
		}
	}
	response, _, err := nodes[1].tryPublish("r", "", map[string]int{"n": -1})
	if err != nil || response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("a publisher gets %v, %v", response, err)
	}
	redis.Run()
	for _, d := range nodes {
		ready(d, 200, "ready")
	}
	goal := stream.last() + 50
	eventually(t, "messages go on", func() bool {
		numbers := slices.DeleteFunc(messageNumbers(t, c), func(n int) bool { return n == -1 }) // it may have been taken
		for i, n := range numbers {
			if n != numbers[0]+i {
				t.Fatalf("message %d follows %d", n, numbers[i-1])
			}
		}
		return numbers[len(numbers)-1] >= goal
	})
}

// startDynalite starts a DynamoDB of its own in Node, and points the AWS settings of what is started next at it.
func startDynalite(t *testing.T) (endpoint string) {
	t.Helper()
	port := fmt.Sprint(redistest.FreePort(t))
	process := exec.Command("node", filepath.Join(jsFolder, "node_modules", "dynalite", "cli.js"), "--host", "127.0.0.1",
		"--port", port, "--path", filepath.Join(t.TempDir(), "tables"), "--createTableMs", "20")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
	})
	endpoint = "http://127.0.0.1:" + port
	eventually(t, "dynalite answers", func() bool {
		response, err := http.Get(endpoint)
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	for name, value := range map[string]string{"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"} {
		t.Setenv(name, value)
	}
	return endpoint
}

// TestRedisForgetsAndDynamoDBDoesNot: with a table, Redis may lose everything. Clients that were there, and one that was away,
// get all that was accepted.
func TestRedisForgetsAndDynamoDBDoesNot(t *testing.T) {
	endpoint := startDynalite(t)
	redis := redistest.Start(t)
	nodes := startCluster(t, redis, 2, "--dynamodb-table", "history", "--dynamodb-endpoint", endpoint, "--dynamodb-create-table", "--max-replay", "100000")
	options := `{"package": "socket.io-client", "options": {"transports": ["websocket"], "reconnectionDelay": 100}, "rooms": ["r"], "once": true}`
	link := startProxy(t, nodes[1].host)
	there, away := startNode(t, "subscriber.mjs", nodes[0].url(), options), startNode(t, "subscriber.mjs", link.url(), options)
	for _, c := range []*node{there, away} {
		c.waitEvent("roomJoined", 1)
	}
	stream := startStubbornStream(t, nodes[0], "r")
	for _, c := range []*node{there, away} {
		c.waitEvent("message", 20)
	}
	link.cut()
	atCut := stream.last()
	eventually(t, "messages that one misses", func() bool { return stream.last() > atCut+20 })
	if err := redis.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	goal := stream.last() + 50
	eventually(t, "messages go on", func() bool { return inOrder(t, there) >= goal })
	link.up()
	eventually(t, "the one that was away has everything", func() bool { return inOrder(t, away) >= goal })
	for name, c := range map[string]*node{"there": there, "away": away} {
		if gaps := c.events("twine:gap"); len(gaps) > 0 {
			t.Errorf("%s was told of %d gaps: %s", name, len(gaps), gaps[0])
		}
	}
}

// TestRedisIsNotThere: a node that cannot begin says so, and ends when it is told to.
func TestRedisIsNotThere(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	process := exec.Command(binary, "--listen", "127.0.0.1:0", "--redis-url", "redis://:hunter2@"+address, "--api-key", "k")
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	log := collect(stderr)
	log.waitFor(t, 0, "a word about Redis", func(line string) bool { return strings.Contains(line, "waiting for Redis") })
	process.Process.Signal(syscall.SIGTERM)
	<-log.ended
	if err := process.Wait(); err != nil {
		t.Errorf("%v: %s", err, log)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log shows the password: %s", log)
	}
}
