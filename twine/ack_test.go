package twine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twine-realtime/twine/twine"
)

func TestEmitWithAck(t *testing.T) {
	srv := serve(t, nil)
	c, s := connected(t, srv)
	replies := make(chan *twine.Reply, 1)
	errs := make(chan error, 1)
	ask := func(ctx context.Context, e twine.Emitter) {
		r, err := e.EmitWithAck(ctx, "question", "life")
		replies <- r
		errs <- err
	}

	go ask(testContext(t), s.Timeout(0))
	c.expect(`20["question","life"]`)
	c.send(`30[42,{"a":1}]`)
	r := receive(t, replies)
	if err := receive(t, errs); err != nil {
		t.Fatal(err)
	}
	var answer int
	if err := r.Args(&answer, nil); err != nil || answer != 42 || r.Len() != 2 || r.Socket() != s.ID() {
		t.Errorf("answer %d of %d by %s: %v", answer, r.Len(), r.Socket(), err)
	}
	if err := r.Bind(2, &answer); !errors.Is(err, twine.ErrNoArgument) {
		t.Errorf("the third argument: %v", err)
	}
	c.send(`30[1]`)  // again: nobody waits
	c.send(`399[1]`) // never asked

	go ask(testContext(t), s.Timeout(20*time.Millisecond))
	c.expect(`21["question","life"]`)
	if err := receive(t, errs); !errors.Is(err, twine.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	c.send(`31["too late"]`)
	<-replies

	ctx, cancel := context.WithCancel(testContext(t))
	go ask(ctx, s.Timeout(0))
	c.expect(`22["question","life"]`)
	cancel()
	if err := receive(t, errs); !errors.Is(err, context.Canceled) || errors.Is(err, twine.ErrTimeout) {
		t.Errorf("cancelled: %v", err)
	}
	<-replies

	go ask(testContext(t), s.Timeout(patience))
	c.expect(`23["question","life"]`)
	c.cut()
	if err := receive(t, errs); !errors.Is(err, twine.ErrDisconnected) {
		t.Errorf("disconnected: %v", err)
	}
	<-replies
	if _, err := s.EmitWithAck(testContext(t), "question"); !errors.Is(err, twine.ErrDisconnected) {
		t.Errorf("after the disconnect: %v", err)
	}
}

// Acknowledgements pass the socket's own queue of events, or this would wait for itself.
func TestEmitWithAckInAHandler(t *testing.T) {
	srv := serve(t, nil)
	twine.Handle(srv, "ask me", func(ctx context.Context, s *twine.Socket, _ any) (string, error) {
		r, err := s.EmitWithAck(ctx, "name")
		if err != nil {
			return "", err
		}
		var name string
		err = r.Args(&name)
		return "hello " + name, err
	})
	c, _ := connected(t, srv)
	c.send(`27["ask me"]`)
	c.send(`28["ask me"]`)
	c.expect(`20["name"]`)
	c.send(`30["x"]`)
	c.expect(`37["hello x"]`, `21["name"]`)
	c.send(`31["y"]`)
	c.expect(`38["hello y"]`)
}

func TestBroadcastWithAck(t *testing.T) {
	srv := serve(t, nil)
	var clients []*testClient
	var sockets []*twine.Socket
	for range 3 {
		c, s := connected(t, srv)
		s.Join("room")
		clients, sockets = append(clients, c), append(sockets, s)
	}
	type result struct {
		replies []twine.Reply
		err     error
	}
	results := make(chan result, 1)
	ask := func(timeout time.Duration) {
		go func() {
			replies, err := srv.To("room").Timeout(timeout).EmitWithAck(testContext(t), "ready?")
			results <- result{replies, err}
		}()
	}

	ask(patience)
	for _, c := range clients {
		c.expect(`20["ready?"]`)
		c.send(`30[true]`)
		c.send(`30[false]`)
	}
	if got := receive(t, results); got.err != nil || len(got.replies) != 3 || string(got.replies[0].Raw(0)) != "true" {
		t.Errorf("all answered: %v, %v", got.replies, got.err)
	}

	ask(50 * time.Millisecond)
	clients[0].expect(`21["ready?"]`)
	clients[0].send(`31[1]`)
	got := receive(t, results)
	if !errors.Is(got.err, twine.ErrTimeout) || len(got.replies) != 1 || got.replies[0].Socket() != sockets[0].ID() {
		t.Errorf("one answered in time: %v, %v", got.replies, got.err)
	}

	ask(patience)
	for i, c := range clients {
		if i > 0 {
			c.expect(`21["ready?"]`)
		}
		c.expect(`22["ready?"]`)
		if i < 2 {
			c.send(`32[]`)
		}
	}
	clients[2].cut()
	got = receive(t, results)
	if !errors.Is(got.err, twine.ErrDisconnected) || len(got.replies) != 2 {
		t.Errorf("one disconnected: %v, %v", got.replies, got.err)
	}

	if replies, err := srv.To("nowhere").EmitWithAck(testContext(t), "ready?"); err != nil || len(replies) != 0 {
		t.Errorf("nobody there: %v, %v", replies, err)
	}
	if replies, err := srv.To("room").Volatile().Except("room").EmitWithAck(testContext(t), "x"); err != nil || len(replies) != 0 {
		t.Errorf("nobody selected: %v, %v", replies, err)
	}
}
