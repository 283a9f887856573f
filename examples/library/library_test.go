package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const patience = time.Minute

// program is the example, running.
type program struct {
	t           *testing.T
	url, folder string
	stop        func()
}

func start(t *testing.T, folder string) *program {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, folder) }()
	stopped := false
	p := &program{t: t, url: "http://" + listener.Addr().String(), folder: folder}
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
	t.Cleanup(p.stop)
	return p
}

// ask sends a request as a user, or as nobody, and returns the status and the body.
func (p *program) ask(cookie *http.Cookie, method, path, body string) (int, string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if cookie != nil {
		request.AddCookie(cookie)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func (p *program) login(name string) *http.Cookie {
	p.t.Helper()
	response, err := http.Post(p.url+"/login", "application/json", strings.NewReader(fmt.Sprintf(`{"name":%q}`, name)))
	if err != nil {
		p.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 204 || len(response.Cookies()) != 1 {
		p.t.Fatalf("login of %s: %s %v", name, response.Status, response.Cookies())
	}
	return response.Cookies()[0]
}

// client is a realtime connection.
type client struct {
	t           *testing.T
	conn        net.Conn
	ends        io.ReadWriter
	pid, offset string
}

func (p *program) connect(cookie *http.Cookie, auth string) *client {
	p.t.Helper()
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"Cookie": {cookie.String()}}, Timeout: patience}
	conn, early, _, err := dialer.Dial(p.t.Context(), strings.Replace(p.url, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{t: p.t, conn: conn, ends: conn}
	if early != nil {
		c.ends = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	if err := wsutil.WriteClientText(conn, []byte("40"+auth)); err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (c *client) packet(prefix string) []byte {
	c.t.Helper()
	for {
		data, err := wsutil.ReadServerText(c.ends)
		if err != nil {
			c.t.Fatalf("%v, want %s", err, prefix)
		}
		if strings.HasPrefix(string(data), prefix) {
			return data[len(prefix):]
		}
	}
}

func (c *client) opened() *client {
	c.t.Helper()
	var content struct{ PID string }
	if err := json.Unmarshal(c.packet("40"), &content); err != nil || content.PID == "" {
		c.t.Fatalf("%+v, %v", content, err)
	}
	c.pid = content.PID
	return c
}

func (c *client) order() (o order) {
	c.t.Helper()
	var args []json.RawMessage
	if err := json.Unmarshal(c.packet(`42`), &args); err != nil || len(args) != 3 || string(args[0]) != `"order"` {
		c.t.Fatalf("%s, %v", args, err)
	}
	if err := errors.Join(json.Unmarshal(args[1], &o), json.Unmarshal(args[2], &c.offset)); err != nil {
		c.t.Fatal(err)
	}
	return o
}

// TestOrders has two guests and a cook go through a restart.
func TestOrders(t *testing.T) {
	p := start(t, t.TempDir())
	ada, bob, chef := p.login("Ada"), p.login("Bob"), p.login(cook)
	ofAda, ofBob, ofChef := p.connect(ada, "").opened(), p.connect(bob, "").opened(), p.connect(chef, "").opened()

	if status, text := p.ask(ada, "POST", "/orders", `{"dish":"żurek"}`); status != 201 || text != `{"number":1,"by":"Ada","dish":"żurek","ready":false}`+"\n" {
		t.Fatalf("%d %s", status, text)
	}
	first := order{Number: 1, By: "Ada", Dish: "żurek"}
	if got := ofAda.order(); got != first {
		t.Errorf("Ada is told %+v", got)
	}
	if got := ofChef.order(); got != first {
		t.Errorf("the cook is told %+v", got)
	}
	p.ask(bob, "POST", "/orders", `{"dish":"pierogi"}`)
	if got := ofBob.order(); got.Number != 2 { // and nothing of Ada's
		t.Errorf("Bob is told %+v", got)
	}

	// While Ada is away, her dish gets ready, and the program is restarted.
	ofAda.conn.Close()
	if status, text := p.ask(chef, "POST", "/orders/1/ready", ""); status != 200 || !strings.Contains(text, `"ready":true`) {
		t.Errorf("%d %s", status, text)
	}
	ofBob.conn.Close() // these would be waited for: they do not answer the server's goodbye
	ofChef.conn.Close()
	p.stop()
	p = start(t, p.folder)
	back := p.connect(ada, fmt.Sprintf(`{"pid":%q,"offset":%q}`, ofAda.pid, ofAda.offset))
	if back.opened(); back.pid != ofAda.pid {
		t.Error("Ada was not recovered")
	}
	if got := back.order(); got.Number != 1 || !got.Ready {
		t.Errorf("Ada missed %+v", got)
	}
	for _, want := range []struct {
		cookie  *http.Cookie
		numbers string
	}{{ada, "1"}, {bob, "2"}, {chef, "1 2"}} {
		_, text := p.ask(want.cookie, "GET", "/orders", "")
		var list []order
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		var numbers []string
		for _, o := range list {
			numbers = append(numbers, fmt.Sprint(o.Number))
			if o.Ready != (o.Number == 1) {
				t.Errorf("after the restart there is %+v", o)
			}
		}
		if got := strings.Join(numbers, " "); got != want.numbers {
			t.Errorf("after the restart there are %s, want %s", got, want.numbers)
		}
	}
	if _, text := p.ask(bob, "POST", "/orders", `{"dish":"barszcz"}`); !strings.Contains(text, `"number":3`) {
		t.Errorf("the next order is %s", text)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	p := start(t, t.TempDir())
	ada, chef := p.login("Ada"), p.login(cook)
	forged := &http.Cookie{Name: cookieName, Value: strings.Replace(chef.Value, ".", ".x", 1)}
	p.ask(ada, "POST", "/orders", `{"dish":"soup"}`)
	for _, try := range []struct {
		cookie             *http.Cookie
		method, path, body string
		status             int
		why                string
	}{
		{nil, "GET", "/orders", "", 401, "not signed in"},
		{forged, "GET", "/orders", "", 401, "not signed in"},
		{nil, "POST", "/orders", `{"dish":"soup"}`, 401, "not signed in"},
		{nil, "GET", "/socket.io/?EIO=4&transport=polling", "", 403, "not signed in"},
		{forged, "GET", "/socket.io/?EIO=4&transport=polling", "", 403, "not signed in"},
		{ada, "POST", "/orders", `soup`, 400, "JSON"},
		{ada, "POST", "/orders", `{}`, 400, "must be named"},
		{ada, "POST", "/orders/1/ready", "", 403, "only the cook"},
		{chef, "POST", "/orders/2/ready", "", 404, "no such order"},
		{chef, "POST", "/orders/x/ready", "", 404, "no such order"},
		{nil, "POST", "/login", `{"name":""}`, 400, "the name must"},
		{nil, "POST", "/login", `{"name":" cook"}`, 400, "the name must"},
		{nil, "POST", "/login", `{"name":"a;b"}`, 400, "the name must"},
		{nil, "GET", "/", "", 200, "<title>Orders</title>"},
		{nil, "GET", "/page.js", "", 200, `from "./client.js"`},
		{nil, "GET", "/client.js", "", 200, "export class Client"},
	} {
		status, text := p.ask(try.cookie, try.method, try.path, try.body)
		if status != try.status || !strings.Contains(text, try.why) {
			t.Errorf("%s %s %s: %d %s", try.method, try.path, try.body, status, text)
		}
	}
}
