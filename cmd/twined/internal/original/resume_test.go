package original

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/twine-realtime/twine/twine"
)

// talk is a connection to a server with recovery, in which only what is asked for is looked at.
type talk struct {
	t   *testing.T
	srv *twine.Server
	rw  io.ReadWriter
	// conn is what rw is over.
	conn net.Conn
	id   string // of the socket
	n    int

	passed []string // packets that hear has not been asked for
}

func startTalk(t *testing.T, maxReplay int) *talk {
	t.Helper()
	srv := twine.NewServer(&twine.Options{Recovery: &twine.Recovery{MaxReplay: maxReplay}})
	Handle(srv, slog.New(slog.DiscardHandler))
	web := httptest.NewServer(srv)
	conn, early, _, err := ws.Dial(t.Context(), strings.Replace(web.URL, "http", "ws", 1)+"/socket.io/?EIO=4&transport=websocket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		web.Close()
		srv.Close(t.Context())
	})
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := &talk{t: t, srv: srv, rw: conn, conn: conn}
	if early != nil {
		c.rw = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	c.say("40")
	var connected struct{ SID string }
	if err := json.Unmarshal([]byte(c.hear("40")), &connected); err != nil {
		t.Fatal(err)
	}
	c.id = connected.SID
	return c
}

func (c *talk) say(packet string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c.rw, []byte(packet)); err != nil {
		c.t.Fatal(err)
	}
}

// hear returns the rest of the next packet with a prefix.
func (c *talk) hear(prefix string) string {
	c.t.Helper()
	for {
		packet, err := wsutil.ReadServerText(c.rw)
		if err != nil {
			c.t.Fatalf("%v, waiting for %s", err, prefix)
		}
		if rest, ok := strings.CutPrefix(string(packet), prefix); ok {
			return rest
		}
		c.passed = append(c.passed, string(packet))
	}
}

// ask sends an event and returns the values of its acknowledgement, the first as an object.
func (c *talk) ask(event string) (head map[string]any, values []json.RawMessage) {
	c.t.Helper()
	c.n++
	c.conn.SetDeadline(time.Now().Add(time.Minute)) // each question's, not the connection's
	c.say(fmt.Sprintf("42%d%s", c.n, event))
	answer := c.hear(fmt.Sprintf("43%d", c.n))
	if err := json.Unmarshal([]byte(answer), &values); err != nil {
		c.t.Fatalf("%v: %s", err, answer)
	}
	if len(values) > 0 {
		if err := json.Unmarshal(values[0], &head); err != nil {
			c.t.Fatalf("%v: %s", err, answer)
		}
		values = values[1:]
	}
	return head, values
}

func (c *talk) publish(to twine.BroadcastOperator, args ...any) (offset string) {
	c.t.Helper()
	published, err := to.Publish(c.t.Context(), "", "message", args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return published.Offset.String()
}

func text(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

func TestResume(t *testing.T) {
	c := startTalk(t, 100)
	start, _ := c.ask(`["subscribe","elsewhere",{}]`)
	if len(start) != 1 || start["offset"] == "" {
		t.Fatalf("a new subscription is answered %v", start)
	}
	first := c.publish(c.srv.To("r"), 1, json.RawMessage(`{"a":[[[[]]]]}`))
	second := c.publish(c.srv.To("r", "s"), "two")
	c.publish(c.srv.To("t"), "of another room")
	c.publish(c.srv.To("r").Except("old"), "not for old")
	c.publish(c.srv.To("r").Except(c.id), "not for this one")
	last := c.publish(c.srv.To("s"), 3)
	head, values := c.ask(fmt.Sprintf(`["subscribe",["r","s"],{"after":%q,"ids":["old"]}]`, start["offset"]))
	if got, want := text(head), fmt.Sprintf(`{"entries":[[%q,3],[%q,2,["r","s"]],[%q,2]],"offset":%[3]q}`, first, second, last); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := text(values), `["message",1,{"a":[[[[]]]]},"message","two","message",3]`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// It is subscribed.
	c.publish(c.srv.To("s"), 4)
	if got := c.hear(`42["message",4,`); got == "" {
		t.Error("the event has no offset")
	}
	// Where there is nothing to come.
	for _, after := range []any{head["offset"], last} {
		if head, values := c.ask(fmt.Sprintf(`["subscribe","t",{"after":%q}]`, after)); head["gap"] != nil || head["entries"] != nil || len(values) > 0 {
			t.Errorf("nothing was missed after %v, and the answer is %v %s", after, head, values)
		}
	}
}

func TestResumeInPages(t *testing.T) {
	const messages = missedEntries*2 + 5
	c := startTalk(t, messages)
	start, _ := c.ask(`["subscribe","r",{}]`)
	large := strings.Repeat("x", missedBytes/4)
	for n := range messages {
		if n < 20 {
			c.publish(c.srv.To("r"), n, large)
			continue
		}
		if _, err := c.srv.To("r").Enqueue("", "message", n); err != nil {
			t.Fatal(err)
		}
	}
	c.publish(c.srv.To("other"), 0)
	head, values := c.ask(fmt.Sprintf(`["subscribe","r",{"after":%q}]`, start["offset"]))
	through := head["offset"]
	n, pages := 0, 1
	for ; ; pages++ {
		size := 0
		for _, entry := range head["entries"].([]any) {
			count := int(entry.([]any)[1].(float64))
			if got := string(values[1]); got != fmt.Sprint(n) {
				t.Fatalf("message %s comes, want %d", got, n)
			}
			for _, v := range values[:count] {
				size += len(v)
			}
			values = values[count:]
			n++
		}
		if size > missedBytes || len(values) > 0 {
			t.Errorf("page %d has %d bytes, and %d values are left", pages, size, len(values))
		}
		if head["next"] == nil {
			break
		}
		head, values = c.ask(fmt.Sprintf(`["twine:missed","r",{"after":%q,"through":%q}]`, head["next"], through))
		if head["offset"] != nil {
			t.Errorf("the offset has changed: %v", head["offset"])
		}
	}
	if n != messages || pages < 5 {
		t.Errorf("%d messages on %d pages", n, pages)
	}
}

func TestResumeGaps(t *testing.T) {
	c := startTalk(t, 3)
	start, _ := c.ask(`["subscribe","x",{}]`)
	var last string
	for n := range 4 {
		last = c.publish(c.srv.To("many"), n)
	}
	c.publish(c.srv.To("few"), 1)
	subscribe := func(rooms, after string) map[string]any {
		head, _ := c.ask(fmt.Sprintf(`["subscribe",%s,{"after":%q}]`, rooms, after))
		return head
	}
	if head := subscribe(`["many","few"]`, start["offset"].(string)); head["split"] != true || head["gap"] != nil || head["entries"] != nil {
		t.Errorf("two rooms together: %v", head)
	}
	if head := subscribe(`"few"`, start["offset"].(string)); head["gap"] != nil || len(head["entries"].([]any)) != 1 {
		t.Errorf("the room that is complete: %v", head)
	}
	want := func(what string, head map[string]any, from string) {
		t.Helper()
		if got := text(head["gap"]); got != fmt.Sprintf(`{"from":%q,"to":%q}`, from, head["offset"]) || head["entries"] != nil || head["split"] != nil {
			t.Errorf("%s: %v", what, head)
		}
	}
	want("too many", subscribe(`"many"`, start["offset"].(string)), start["offset"].(string))
	want("before the log", subscribe(`["many","few"]`, "1-0"), "1-0")
	want("after the log", subscribe(`["many","few"]`, "99999999999999-0"), "99999999999999-0")
	if head, _ := c.ask(fmt.Sprintf(`["twine:missed","many",{"after":"1-0","through":%q}]`, last)); text(head["gap"]) != fmt.Sprintf(`{"from":"1-0","to":%q}`, last) {
		t.Errorf("a page that is gone: %v", head)
	}
}

func TestResumeRefused(t *testing.T) {
	c := startTalk(t, 10)
	for event, want := range map[string]string{
		`["subscribe","r",5]`:                                               "no position",
		`["subscribe","r",null]`:                                            "no position",
		`["subscribe","r",{"after":5}]`:                                     "no position",
		`["subscribe","r",{"after":"5"}]`:                                   "no position",
		`["subscribe","r",{"after":"1-2","ids":"x"}]`:                       "no position",
		`["subscribe","",{}]`:                                               "room is empty",
		`["subscribe",["r",""],{"after":"1-2"}]`:                            "room is empty",
		`["twine:missed","r"]`:                                              "no position",
		`["twine:missed","r",{}]`:                                           "no position",
		`["twine:missed","r",{"after":"1-2"}]`:                              "no position",
		`["twine:missed","other",{"after":"1-2","through":"9-9"}]`:          `not subscribed to the room "other"`,
		`["twine:missed",5,{"after":"1-2","through":"9-9"}]`:                "neither a room",
		`["subscribe",["r"],{"ids":[` + strings.Repeat(`"",`, 16) + `""]}]`: "no position",
	} {
		if head, _ := c.ask(event); !strings.Contains(fmt.Sprint(head["error"]), want) || len(head) != 1 {
			t.Errorf("%s is answered %v, want %q", event, head, want)
		}
	}
	if rooms := c.srv.Of("/").Socket(c.id).Rooms(); len(rooms) != 1 {
		t.Errorf("it is in the rooms %q", rooms)
	}
}

// TestResumeWhilePublishing subscribes again and again in the middle of a stream: each message is in an answer, or comes
// by itself.
func TestResumeWhilePublishing(t *testing.T) {
	c := startTalk(t, 1_000_000)
	head, _ := c.ask(`["subscribe","r",{}]`)
	start := head["offset"]
	c.ask(`["unsubscribe","r"]`)
	published, ending := 0, make(chan struct{})
	stopped := make(chan error, 1)
	go func() {
		for {
			select {
			case <-ending:
				stopped <- nil
				return
			default:
			}
			if _, err := c.srv.To("r").Publish(t.Context(), "", "message", published+1); err != nil {
				stopped <- err
				return
			}
			published++
		}
	}()
	const rounds = 300
	came := map[string]bool{}
	for round := range rounds {
		if round == rounds-1 {
			close(ending)
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
		}
		c.passed = nil
		head, values := c.ask(fmt.Sprintf(`["subscribe","r",{"after":%q}]`, start))
		start = head["offset"]
		for {
			for i := 1; i < len(values); i += 2 {
				came[string(values[i])] = true
			}
			if head["next"] == nil {
				break
			}
			head, values = c.ask(fmt.Sprintf(`["twine:missed","r",{"after":%q,"through":%q}]`, head["next"], start))
		}
		c.ask(`["unsubscribe","r"]`)
		for _, packet := range c.passed {
			var event []any
			if text, ok := strings.CutPrefix(packet, "42"); !ok || json.Unmarshal([]byte(text), &event) != nil || event[0] != "message" {
				continue
			}
			came[fmt.Sprint(event[1])] = true
			start = event[2] // the newest
		}
	}
	for n := 1; n <= published; n++ {
		if !came[fmt.Sprint(n)] {
			t.Fatalf("message %d of %d is missing", n, published)
		}
	}
	if published < rounds {
		t.Errorf("only %d messages were published", published)
	}
}
