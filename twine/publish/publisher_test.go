package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outcomes collects what Done is told.
type outcomes struct {
	mu  sync.Mutex
	all []Outcome
}

func (o *outcomes) add(one Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, one)
}

func (o *outcomes) check(t *testing.T, count int, right func(n int, o Outcome) bool) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) != count {
		t.Errorf("%d outcomes, want %d", len(o.all), count)
	}
	for n, one := range o.all {
		if one.Message.Data != n || !right(n, one) {
			t.Fatalf("outcome %d is %+v", n, one)
		}
	}
}

func TestPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var done outcomes
		p := NewPublisher(s.client(Options{}), PublisherOptions{Done: done.add})
		for n := range 2500 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: n}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.checkOrder(2500)
		if s.requests > 5 {
			t.Errorf("sizes %v", s.sizes)
		}
		done.check(t, 2500, func(n int, o Outcome) bool { return o.Err == nil && o.Result.Offset == fmt.Sprintf("%d-0", n+1) })
		if err := errors.Join(p.Close(t.Context()), p.Flush(t.Context())); err != nil {
			t.Errorf("when closed: %v", err)
		}
		if a, b := p.Send(t.Context(), Message{Room: "r"}), p.TrySend(Message{Room: "r"}); a != ErrClosed || b != ErrClosed {
			t.Errorf("when closed: %v, %v", a, b)
		}
	})
}

func TestPublisherLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		p := NewPublisher(s.client(Options{}), PublisherOptions{Linger: time.Second, MaxBatch: 3})
		defer p.Close(t.Context())
		send := func(count int) {
			t.Helper()
			for range count {
				if err := p.Send(t.Context(), Message{Room: "r"}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		expect := func(sizes ...int) {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			if !slices.Equal(s.sizes, sizes) {
				t.Fatalf("sizes %v, want %v", s.sizes, sizes)
			}
		}
		send(2)
		expect()
		time.Sleep(999 * time.Millisecond) // of the false clock
		synctest.Wait()
		expect()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		expect(2)
		send(4) // a full batch does not wait
		expect(2, 3)
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(2, 3, 1)
		send(1)
		expect(2, 3, 1) // a Flush that is over hurries nothing
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(2, 3, 1, 1)
		if s.times[3].Sub(s.times[0]) != 0 {
			t.Errorf("times %v", s.times)
		}
	})
}

func TestPublisherByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		p := NewPublisher(s.client(Options{}), PublisherOptions{Linger: time.Hour})
		for range 5 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: strings.Repeat("x", 300_000)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(s.sizes, []int{3}) {
			t.Errorf("sizes %v", s.sizes)
		}
		if err := p.Close(t.Context()); err != nil || !slices.Equal(s.sizes, []int{3, 2}) {
			t.Errorf("%v, sizes %v", err, s.sizes)
		}
	})
}

func TestPublisherQueueIsBounded(t *testing.T) {
	for name, opts := range map[string]PublisherOptions{"messages": {MaxQueue: 10}, "bytes": {MaxQueueBytes: 10 * 1000}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				release := make(chan struct{})
				s.before = func(int, *http.Request) (*http.Response, error) {
					<-release
					return nil, nil
				}
				p := NewPublisher(s.client(Options{}), opts)
				text := strings.Repeat("x", 900)
				sent := 0
				for ; sent < 100; sent++ {
					if err := p.TrySend(Message{Room: "r", Data: text}); err != nil {
						if err != ErrFull {
							t.Fatal(err)
						}
						break
					}
					if sent == 0 {
						time.Sleep(time.Minute) // the first is under way
					}
				}
				if sent != 10 {
					t.Errorf("%d messages fit", sent)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := p.Send(ctx, Message{Room: "r", Data: text}); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				waiting := make(chan error)
				go func() { waiting <- p.Send(t.Context(), Message{Room: "r", Data: text}) }()
				synctest.Wait()
				close(release)
				if err := <-waiting; err != nil {
					t.Error(err)
				}
				if err := p.Close(t.Context()); err != nil || len(s.received()) != 11 {
					t.Errorf("%v, %d messages", err, len(s.received()))
				}
			})
		})
	}
}

// TestPublisherTakesOneLargerThanItsQueue: it would wait for ever.
func TestPublisherTakesOneLargerThanItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		p := NewPublisher(s.client(Options{}), PublisherOptions{MaxQueueBytes: 100})
		for range 3 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: strings.Repeat("x", 1000)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(t.Context()); err != nil || len(s.received()) != 3 {
			t.Error(err)
		}
	})
}

// TestPublisherOutage: the server is away, then comes back; nothing is lost, twice or out of order.
func TestPublisherOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		outage := time.Now().Add(10 * time.Second)
		s.after = func(n int, answer *http.Response) (*http.Response, error) {
			if time.Now().Before(outage) {
				return nil, errReset // after the message was taken
			}
			return answer, nil
		}
		var done outcomes
		p := NewPublisher(s.client(Options{MaxAttempts: -1}), PublisherOptions{MaxQueue: 50, MaxBatch: 20, Done: done.add})
		for n := range 500 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: n}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.checkOrder(500)
		done.check(t, 500, func(_ int, o Outcome) bool { return o.Err == nil && o.Result.Offset != "" })
	})
}

func TestPublisherReportsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, _ *http.Request) (*http.Response, error) {
			if n > 1 {
				return problem(401, "wrong API key"), nil
			}
			return nil, nil
		}
		var done outcomes
		p := NewPublisher(s.client(Options{}), PublisherOptions{MaxBatch: 2, Done: done.add})
		for n := range 4 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: n}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Send(t.Context(), Message{}); err == nil {
			t.Error("a message without a room is taken")
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		done.check(t, 4, func(n int, o Outcome) bool {
			var refusal *Error
			return (n < 2) == (o.Err == nil) && (n < 2 || errors.As(o.Err, &refusal) && refusal.Status == 401)
		})
	})
}

// TestPublisherCloseGivesUp: when Close has no more time, each message that is left has its outcome nevertheless.
func TestPublisherCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		var done outcomes
		p := NewPublisher(s.client(Options{MaxAttempts: -1, Timeout: time.Hour}), PublisherOptions{MaxBatch: 4, Done: done.add})
		for n := range 10 {
			if err := p.Send(t.Context(), Message{Room: "r", Data: n}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		err := p.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "before 10 messages") || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		done.check(t, 10, func(n int, o Outcome) bool {
			var gaveUp *GaveUpError
			return errors.As(o.Err, &gaveUp) && gaveUp.ID != "" && (gaveUp.Attempts == 1) == (n < 4) && errors.Is(o.Err, context.DeadlineExceeded)
		})
		if again := p.Close(t.Context()); again == nil || again.Error() != err.Error() {
			t.Errorf("the second time: %v", again)
		}
	})
}

// TestPublisherFromManyGoroutines is for the race detector; each goroutine's messages keep their order.
func TestPublisherFromManyGoroutines(t *testing.T) {
	const senders, each = 8, 500
	s := newServer(t)
	p := NewPublisher(s.client(Options{}), PublisherOptions{MaxQueue: 100, MaxBatch: 30, Linger: time.Microsecond, Done: func(o Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	}})
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for n := range each {
				if err := p.Send(t.Context(), Message{Room: fmt.Sprint(sender), Data: n}); err != nil {
					t.Error(err)
				}
				if n%100 == 0 {
					if err := p.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	next := map[string]int{}
	for _, m := range s.received() {
		if string(m.Data) != fmt.Sprint(next[m.Rooms[0]]) {
			t.Fatalf("sender %s: got %s, want %d", m.Rooms[0], m.Data, next[m.Rooms[0]])
		}
		next[m.Rooms[0]]++
	}
	if len(next) != senders || next["0"] != each {
		t.Errorf("got %v", next)
	}
}
