//go:build redis

package redislog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

// Stores of many sessions at once share pipelines, and each gets its own outcome, also while Redis forgets its scripts.
func TestStoresTogether(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := NewSessions(rdb, SessionsOptions{})
	defer s.Close()
	const sessions = 300
	state := func(i int, rooms ...string) recovery.State {
		return recovery.State{PID: strconv.Itoa(i), TwineID: fmt.Sprint("browser", i/2), Rooms: rooms}
	}
	var running sync.WaitGroup
	for i := range sessions {
		running.Go(func() {
			if i%3 > 0 {
				if err := s.Create(t.Context(), state(i), "token"); err != nil {
					t.Error(err)
				}
			}
			if i%3 == 1 {
				if _, _, err := s.Claim(t.Context(), strconv.Itoa(i), "another"); err != nil {
					t.Error(err)
				}
			}
			if i%50 == 0 {
				rdb.ScriptFlush(t.Context())
			}
			err := s.Store(t.Context(), state(i, "room"), "token")
			if want := []error{recovery.ErrUnknownSession, recovery.ErrSuperseded, nil}[i%3]; !errors.Is(err, want) {
				t.Errorf("session %d: %v, want %v", i, err, want)
			}
		})
	}
	running.Wait()
	for i := range sessions {
		states, err := s.ByTwineID(t.Context(), fmt.Sprint("browser", i/2))
		if err != nil {
			t.Fatal(err)
		}
		var rooms []string
		for _, st := range states {
			if st.PID == strconv.Itoa(i) {
				rooms = st.Rooms
			}
		}
		if (len(rooms) == 1) != (i%3 == 2) {
			t.Errorf("session %d is in %v", i, rooms)
		}
	}
}

// A caller that gives up gets an answer while Redis gives none, and the others get theirs.
func TestStoreIsGivenUp(t *testing.T) {
	server := redistest.Start(t)
	s := NewSessions(server.Client(), SessionsOptions{Timeout: patience})
	defer s.Close()
	if err := s.Create(t.Context(), recovery.State{PID: "0"}, "token"); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	outcome := make(chan error)
	go func() { outcome <- s.Store(t.Context(), recovery.State{PID: "0"}, "token") }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Create(ctx, recovery.State{PID: "1"}, "token"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	server.Resume()
	if err := <-outcome; err != nil {
		t.Error(err)
	}
}

func BenchmarkStoreSessions(b *testing.B) {
	rdb := redistest.Start(b).Client()
	s := NewSessions(rdb, SessionsOptions{})
	defer s.Close()
	var next atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		st := recovery.State{PID: strconv.FormatInt(next.Add(1), 10), TwineID: "browser" + strconv.FormatInt(next.Load(), 10), Rooms: []string{"room"}}
		if err := s.Create(b.Context(), st, "token"); err != nil {
			b.Error(err)
			return
		}
		for pb.Next() {
			if err := s.Store(b.Context(), st, "token"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
