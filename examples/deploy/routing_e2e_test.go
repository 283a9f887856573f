//go:build e2e

package deploy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// Clients stay with their node while they poll, upgrade and use WebSocket. The nodes know nothing of each other, so a
// request that went astray would end the connection. When a node goes its clients come back to the other one; when it is
// there again, it gets clients again.
func TestStickyProxies(t *testing.T) {
	t.Parallel()
	transports := map[string][]string{"polling": {"polling"}, "websocket": {"websocket"}, "upgrade": {"polling", "websocket"}}
	for name, startProxy := range proxies["sticky"] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := []*node{startNode(t), startNode(t)}
			p := startProxy(t, nodes[0].address, nodes[1].address)
			waitForBoth(t, p, nodes)
			clients := map[string]*subscriber{}
			for kind, transports := range transports {
				clients[kind] = subscribe(t, p, "room", transports...)
			}
			home := map[string]*node{}
			for _, c := range clients {
				c.wait("roomJoined", 1)
			}
			for number := range 20 {
				for _, n := range nodes {
					n.publish(t, "room", number)
				}
			}
			for kind, c := range clients {
				c.wait("message", 20)
				home[kind] = nodes[0]
				if len(c.messages(nodes[0].address)) == 0 {
					home[kind] = nodes[1]
				}
				for i, m := range c.messages(home[kind].address) {
					if m.Number != i {
						t.Errorf("%s: message %d comes in place %d", kind, m.Number, i)
					}
				}
				if n := len(c.all("message")); n != 20 || len(c.messages(home[kind].address)) != 20 {
					t.Errorf("%s: %d messages, of which %d of its own node", kind, n, len(c.messages(home[kind].address)))
				}
				if n := len(c.all("disconnect")) + len(c.all("connect_error")); n > 0 {
					t.Errorf("%s: the connection broke", kind)
				}
			}
			clients["upgrade"].wait("upgrade", 1)

			// The node of one of them goes, as for an upgrade. Who was there comes to the other one.
			gone := home["polling"]
			other := nodes[0]
			if gone == other {
				other = nodes[1]
			}
			gone.stop(syscall.SIGTERM)
			for kind, c := range clients {
				if home[kind] == gone {
					c.wait("roomJoined", 2)
				}
			}
			other.publish(t, "room", 100)
			for kind, c := range clients {
				eventually(t, kind+" is served by the other node", func() bool {
					own := c.messages(other.address)
					return len(own) > 0 && own[len(own)-1].Number == 100
				})
			}
			gone.begin(t)
			waitForNode(t, p, gone, nodes)
		})
	}
}

// waitForBoth waits until the proxy uses both nodes.
func waitForBoth(t *testing.T, p *proxy, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		waitForNode(t, p, n, nodes)
	}
}

// waitForNode opens sessions until one is at a node, of those that there are.
func waitForNode(t *testing.T, p *proxy, n *node, nodes []*node) {
	t.Helper()
	eventually(t, "the proxy uses "+n.address, func() bool {
		sid := handshake(t, p)
		return sid != "" && endSession(t, sid, nodes) == n
	})
}

// endSession ends a session, past the proxy, and returns the node that had it. It takes the answer too, for which the node
// would wait when it shuts down.
func endSession(t *testing.T, sid string, nodes []*node) (owner *node) {
	t.Helper()
	for _, n := range nodes {
		url := "http://" + n.address + "/socket.io/?EIO=4&transport=polling&sid=" + sid
		response, err := nodeClient.Post(url, "text/plain", strings.NewReader("1"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			continue
		}
		owner = n
		if response, err = nodeClient.Get(url); err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	return owner
}

// handshake opens a session through the proxy, without a cookie, and returns its id; nothing while no node answers.
func handshake(t *testing.T, p *proxy) string {
	t.Helper()
	response, err := p.client.Get(p.url() + "/socket.io/?EIO=4&transport=polling")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var open struct{ SID string }
	if response.StatusCode != http.StatusOK || json.Unmarshal([]byte(strings.TrimPrefix(string(text), "0")), &open) != nil {
		return ""
	}
	return open.SID
}

// What the settings without stickiness are not for: nodes that know nothing of each other. This is what the other tests
// would see if stickiness did not work.
func TestRoundRobinNeedsACluster(t *testing.T) {
	t.Parallel()
	for name, startProxy := range proxies["round robin"] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := []*node{startNode(t), startNode(t)}
			p := startProxy(t, nodes[0].address, nodes[1].address)
			waitForBoth(t, p, nodes)
			eventually(t, "a poll goes to the node that has not the session", func() bool {
				sid := handshake(t, p)
				if sid == "" {
					return false
				}
				defer endSession(t, sid, nodes)
				response, err := p.client.Post(p.url()+"/socket.io/?EIO=4&transport=polling&sid="+sid, "text/plain", strings.NewReader("40"))
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				text, err := io.ReadAll(response.Body)
				return err == nil && response.StatusCode == http.StatusBadRequest && strings.Contains(string(text), "Session ID unknown")
			})
		})
	}
}

// HAProxy asks /readyz, and sends nobody to a node that answers 503 there.
func TestHAProxyAsksReadyz(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sticky", "round robin"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ready, draining := startBackend(t), startBackend(t)
			ready.ready.Store(true)
			p := proxies[kind]["haproxy"](t, draining.address, ready.address)
			eventually(t, "the node that is not ready has been found out", func() bool { return draining.checks.Load() >= 3 && ready.checks.Load() >= 3 })
			before := len(draining.asked())
			for range 10 {
				get(t, p, "/", nil)
			}
			if n := len(draining.asked()) - before; n > 0 || len(ready.asked()) < 10 {
				t.Errorf("%d requests went to a node that is not ready, %d to the other", n, len(ready.asked()))
			}
			draining.ready.Store(true)
			eventually(t, "the node is used once it is ready", func() bool {
				get(t, p, "/", nil)
				return len(draining.asked()) > before
			})
		})
	}
}

func get(t *testing.T, p *proxy, path string, header http.Header) *http.Response {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, p.url()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// What nodes are told of a client is true, whatever that says itself; who comes without TLS is sent to it; and an upgrade
// goes through, with its bytes.
func TestProxiesForward(t *testing.T) {
	t.Parallel()
	for kind, byName := range proxies {
		for name, startProxy := range byName {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				nodes := []*backend{startBackend(t), startBackend(t)}
				nodes[0].ready.Store(true)
				nodes[1].ready.Store(true)
				p := startProxy(t, nodes[0].address, nodes[1].address)
				get(t, p, "/told", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"evil.example.com"}})
				told := append(nodes[0].asked(), nodes[1].asked()...)
				if len(told) != 1 {
					t.Fatalf("%d requests", len(told))
				}
				host, _, _ := net.SplitHostPort(p.tls)
				for header, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": host} {
					if got := told[0].Header.Values(header); len(got) != 1 || !strings.HasPrefix(got[0], want) {
						t.Errorf("%s is %q, want %q", header, got, want)
					}
				}
				response, err := p.client.Get("http://" + p.plain + "/x?y=z")
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if to := response.Header.Get("Location"); response.StatusCode != http.StatusMovedPermanently || !strings.HasPrefix(to, "https://") || !strings.HasSuffix(to, "/x?y=z") {
					t.Errorf("without TLS: %s %s", response.Status, to)
				}

				conn, err := tls.Dial("tcp", p.tls, p.client.Transport.(*http.Transport).TLSClientConfig)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				io.WriteString(conn, "GET /socket.io/ HTTP/1.1\r\nHost: "+p.tls+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
				reader := bufio.NewReader(conn)
				answer, err := http.ReadResponse(reader, nil)
				if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("upgrade: %v, %v", answer, err)
				}
				io.WriteString(conn, "hello\n")
				if line, err := reader.ReadString('\n'); line != "you said hello\n" {
					t.Errorf("after the upgrade: %q, %v", line, err)
				}
			})
		}
	}
}

// The cookie of stickiness, and the one that the daemon gives to a browser, are for TLS only.
func TestCookiesAreSecure(t *testing.T) {
	t.Parallel()
	for name, startProxy := range proxies["sticky"] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := []*node{startNode(t), startNode(t)}
			p := startProxy(t, nodes[0].address, nodes[1].address)
			waitForBoth(t, p, nodes)
			found := map[string]*http.Cookie{}
			for _, cookie := range get(t, p, "/set-cookie", nil).Cookies() {
				found[cookie.Name] = cookie
			}
			for _, name := range []string{"twine_node", "twineid"} {
				if c := found[name]; c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteNoneMode {
					t.Errorf("%s: %v", name, c)
				}
			}
		})
	}
}
