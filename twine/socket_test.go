package twine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

func TestEventsAndAcknowledgements(t *testing.T) {
	srv := serve(t, nil)
	srv.OnConnect(func(s *twine.Socket) {
		s.On("echo", func(_ context.Context, e *twine.Event) {
			args := make([]any, e.Len())
			for i := range args {
				if err := e.Bind(i, &args[i]); err != nil {
					t.Error(err)
				}
			}
			if e.WantsAck() {
				if err := e.Ack(args...); err != nil {
					t.Error(err)
				}
				if err := e.Ack(); !errors.Is(err, twine.ErrAcked) {
					t.Errorf("second Ack returned %v", err)
				}
				return
			}
			if err := e.Ack(); !errors.Is(err, twine.ErrNoAck) {
				t.Errorf("Ack that nobody wants returned %v", err)
			}
			if err := s.Emit("echo", args...); err != nil {
				t.Error(err)
			}
		})
	})
	c, _ := connected(t, srv)
	c.send(`2["echo",1,"two",{"three":[null]}]`)
	c.expect(`2["echo",1,"two",{"three":[null]}]`)
	c.send(`20["echo",1]`)
	c.expect(`30[1]`)
	c.send(`218446744073709551615["echo"]`)
	c.expect(`318446744073709551615[]`)

	c.send(`51-7["echo",{"_placeholder":true,"num":0}]`)
	c.write(ws.OpBinary, []byte{1, 2, 3})
	p := c.next()
	if describe(p) != `37[{"_placeholder":true,"num":0}]` || string(p.Attachments[0]) != "\x01\x02\x03" {
		t.Fatalf("got %s with %v", describe(p), p.Attachments)
	}
}

func TestEventsOfOneSocketAreHandledInOrder(t *testing.T) {
	srv := serve(t, &twine.Options{MaxPendingEvents: 16})
	var mu sync.Mutex
	var seen []int
	twine.HandleEvent(srv, "n", func(_ context.Context, _ *twine.Socket, n int) error {
		if !mu.TryLock() {
			t.Error("two handlers of one socket run at once")
			return nil
		}
		defer mu.Unlock()
		seen = append(seen, n)
		return nil
	})
	onSync(srv)
	c, _ := connected(t, srv)
	const n = 2000
	for i := range n {
		c.send(fmt.Sprintf(`2["n",%d]`, i))
	}
	c.sync()
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != n {
		t.Fatalf("%d events of %d", len(seen), n)
	}
	for i, got := range seen {
		if got != i {
			t.Fatalf("event %d came as number %d", got, i)
		}
	}
}

func TestEmitRefusesWhatCannotBeSent(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	c, s := connected(t, srv)
	circular := map[string]any{}
	circular["self"] = circular
	many := make([]any, parser.MaxAttachments+1)
	for i := range many {
		many[i] = []byte("x")
	}
	for name, args := range map[string][]any{
		"a channel":            {make(chan int)},
		"infinity":             {math.Inf(1)},
		"a circular map":       {circular},
		"too many attachments": many,
	} {
		if err := s.Emit("event", args...); err == nil {
			t.Errorf("Emit of %s succeeded", name)
		}
		if err := srv.Emit("event", args...); err == nil {
			t.Errorf("broadcast of %s succeeded", name)
		}
		if _, err := s.EmitWithAck(context.Background(), "event", args...); err == nil {
			t.Errorf("EmitWithAck of %s succeeded", name)
		}
	}
	for _, event := range []string{"connect", "disconnect", "disconnecting", "connect_error", "newListener"} {
		for _, emit := range []func(string, ...any) error{s.Emit, srv.Emit, srv.To("room").Emit, s.Volatile().Emit} {
			if err := emit(event); !errors.Is(err, parser.ErrReservedEvent) {
				t.Errorf("emit of %q returned %v", event, err)
			}
		}
	}
	c.sync() // nothing was sent
}

func TestMiddleware(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	srv.Use(func(_ context.Context, s *twine.Socket) error {
		var auth struct{ Token string }
		if err := s.Handshake().BindAuth(&auth); err != nil {
			return err
		}
		switch auth.Token {
		case "good":
			s.Join("users")
			s.SetData(auth.Token)
			return s.Emit("early", "bird")
		case "panic":
			panic("in the middleware")
		case "kick":
			s.Disconnect(false)
			return nil
		case "":
			return errors.New("no token")
		}
		return &twine.ConnectError{Message: "bad token", Data: map[string]any{"code": 7}}
	})
	srv.OnConnect(func(s *twine.Socket) {
		if s.Data() != "good" {
			t.Errorf("a socket with data %v got in", s.Data())
		}
	})
	c := dial(t, srv)
	c.send(`0{"token":"bad"}`)
	c.expect(`4{"message":"bad token","data":{"code":7}}`)
	c.send(`0`)
	c.expect(`4{"message":"no token"}`)
	c.send(`0{"token":"panic"}`)
	c.expect(`4{"message":"internal error"}`)
	c.send(`0{"token":"kick"}`)
	c.expect(`4{"message":"disconnected"}`)
	sid := c.join("/", `{"token":"good"}`)
	c.expect(`2["early","bird"]`)
	if err := srv.To("users").Emit("hello"); err != nil {
		t.Fatal(err)
	}
	c.expect(`2["hello"]`)
	if s := srv.Of("/").Socket(sid); s == nil || len(s.Rooms()) != 2 {
		t.Error("the room that the middleware joined is gone")
	}
	if !strings.Contains(srv.log.String(), "in the middleware") {
		t.Error("the panic was not logged")
	}
}

func TestSocketMiddleware(t *testing.T) {
	srv := serve(t, nil)
	srv.OnConnect(func(s *twine.Socket) {
		s.Use(func(_ context.Context, e *twine.Event) error {
			if e.Name() == "secret" {
				return &twine.AckError{Message: "not for you", Data: 42}
			}
			return nil
		})
		for _, event := range []string{"secret", "open"} {
			twine.On(s, event, func(context.Context, any) (string, error) { return "ok", nil })
		}
	})
	c, _ := connected(t, srv)
	c.send(`21["secret"]`)
	c.expect(`31[{"error":"not for you","data":42}]`)
	c.send(`2["secret"]`)
	c.send(`22["open"]`)
	c.expect(`32["ok"]`)
}

func TestTypedHandlers(t *testing.T) {
	type message struct {
		Text string
		Blob []byte
	}
	srv := serve(t, nil)
	srv.OnConnect(func(s *twine.Socket) {
		twine.On(s, "upper", func(_ context.Context, m message) (string, error) {
			return strings.ToUpper(m.Text) + string(m.Blob), nil
		})
		twine.OnEvent(s, "fail", func(context.Context, string) error { return errors.New("a detail for nobody") })
	})
	twine.Handle(srv.Of("/"), "who", func(_ context.Context, s *twine.Socket, _ struct{}) (string, error) {
		return s.ID(), nil
	})
	c, s := connected(t, srv)
	c.send(`20["upper",{"text":"abc"}]`)
	c.expect(`30["ABC"]`)
	c.send(`51-1["upper",{"text":"x","blob":{"_placeholder":true,"num":0}}]`)
	c.write(ws.OpBinary, []byte("yz"))
	c.expect(`31["Xyz"]`)
	c.send(`22["upper",5]`)
	c.expect(`32[{"error":"invalid argument"}]`)
	c.send(`23["fail","x"]`)
	c.expect(`33[{"error":"internal error"}]`)
	c.send(`24["who"]`)
	c.expect(`34["` + s.ID() + `"]`)
	if !strings.Contains(srv.log.String(), "a detail for nobody") {
		t.Error("the error was not logged")
	}
}

func TestNamespaces(t *testing.T) {
	srv := serve(t, nil)
	srv.Of("chat")
	c := dial(t, srv)
	c.send(`0/random,`)
	c.expect(`4/random,{"message":"Invalid namespace"}`)
	main, chat := c.join("/", ""), c.join("/chat", `{"a":1}`)
	if main == chat {
		t.Error("two sockets share an id")
	}
	if err := srv.Of("/chat").Emit("x"); err != nil {
		t.Fatal(err)
	}
	c.expect(`2/chat,["x"]`)
	s := srv.Of("/chat").Socket(chat)
	if got := string(s.Handshake().Auth); got != `{"a":1}` {
		t.Errorf("auth is %s", got)
	}
	if got := string(srv.Of("/").Socket(main).Handshake().Auth); got != `{}` {
		t.Errorf("auth is %s", got)
	}
	c.send(`1/chat,`)
	eventually(t, "chat is left", func() bool { return srv.Of("/chat").Socket(chat) == nil })
	if srv.Of("/").Socket(main) == nil {
		t.Error("the main namespace was left too")
	}
	if again := c.join("/chat", ""); again == chat {
		t.Error("an id was used again")
	}
}

func TestViolationsCloseTheConnection(t *testing.T) {
	for name, packets := range map[string][]string{
		"event without a namespace":        {`2["x"]`},
		"event for another namespace":      {`0`, `2/chat,["x"]`},
		"acknowledgement without a socket": {`30[]`},
		"disconnect without a socket":      {`1`},
		"connect twice":                    {`0`, `0`},
		"connect error from the client":    {`0`, `4{"message":"x"}`},
		"nothing":                          {``},
		"bare event":                       {`0`, `2`},
		"bare acknowledgement":             {`0`, `3`},
		"empty event":                      {`0`, `2[]`},
		"reserved event":                   {`0`, `2["disconnect"]`},
		"no JSON":                          {`0`, `2["x`},
		"attachments that never come":      {`0`, `51-["x",{"_placeholder":true,"num":0}]`, `2["y"]`},
		"unknown type":                     {`9`},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, nil)
			srv.Of("/chat")
			onSync(srv)
			bystander, _ := connected(t, srv)
			c := dial(t, srv)
			for i, p := range packets {
				c.send(p)
				if p == `0` && i == 0 {
					c.next()
				}
			}
			c.expectClosed()
			bystander.sync()
			eventually(t, "the socket is gone", func() bool { return len(srv.Of("/").Sockets()) == 1 })
		})
	}
}

func TestAPanicDisconnectsOneSocket(t *testing.T) {
	srv := serve(t, nil)
	onSync(srv)
	srv.On("boom", func(context.Context, *twine.Socket, *twine.Event) { panic("at the disco") })
	reasons := make(chan string, 8)
	srv.OnDisconnect(func(_ *twine.Socket, reason string) { reasons <- reason })
	bystander, _ := connected(t, srv)
	c, _ := connected(t, srv)
	c.send(`2["boom"]`)
	c.send(`2["sync"]`)
	c.expect(`1`)
	if got := receive(t, reasons); got != twine.ReasonServerDisconnect {
		t.Errorf("disconnected because of %q", got)
	}
	bystander.sync()
	if !strings.Contains(srv.log.String(), "at the disco") {
		t.Error("the panic was not logged")
	}
	c.join("/", "") // the connection still stands
}

func TestAnyListeners(t *testing.T) {
	srv := serve(t, nil)
	in, out := make(chan string, 8), make(chan string, 8)
	srv.OnConnect(func(s *twine.Socket) {
		s.OnAny(func(_ context.Context, e *twine.Event) { in <- e.Name() })
		s.OnAnyOutgoing(func(_ context.Context, e *twine.Event) { out <- e.Name() + string(e.Raw(0)) })
		s.On("a", func(_ context.Context, e *twine.Event) {
			if err := s.Emit("b", 1); err != nil {
				t.Error(err)
			}
			if err := srv.Emit("c", 2); err != nil {
				t.Error(err)
			}
		})
	})
	c, s := connected(t, srv)
	c.send(`2["a"]`)
	c.expect(`2["b",1]`, `2["c",2]`)
	for _, want := range []string{"b1", "c2"} {
		if got := receive(t, out); got != want {
			t.Errorf("observed %s, want %s", got, want)
		}
	}
	if got := receive(t, in); got != "a" {
		t.Errorf("observed %s", got)
	}
	s.Off("a")
	c.send(`2["a"]`)
	if got := receive(t, in); got != "a" {
		t.Errorf("observed %s", got)
	}
}
