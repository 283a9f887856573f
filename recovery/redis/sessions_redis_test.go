//go:build redis

package redislog

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/recoverytest"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

func TestSessions(t *testing.T) {
	rdb := redistest.Start(t).Client()
	var stores atomic.Int64
	recoverytest.Sessions(t, func(_ testing.TB, now func() time.Time) recoverytest.SessionsUnderTest {
		opts := SessionsOptions{Prefix: fmt.Sprint("test", stores.Add(1), ":"), Hold: recoverytest.Hold, Now: now}
		s := NewSessions(rdb, opts)
		return recoverytest.SessionsUnderTest{Sessions: s, Reopen: func() recovery.Sessions {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = NewSessions(rdb, opts)
			return s
		}}
	})
}

// Redis itself forgets what nobody comes back for.
func TestSessionsExpireInRedis(t *testing.T) {
	rdb := redistest.Start(t).Client()
	s := NewSessions(rdb, SessionsOptions{})
	ctx := t.Context()
	st := recovery.State{PID: "p", TwineID: "b"}
	if err := s.Create(ctx, st, "t"); err != nil {
		t.Fatal(err)
	}
	held := rdb.PTTL(ctx, "twine:session:p").Val()
	if err := s.Release(ctx, st, "t", time.Minute); err != nil {
		t.Fatal(err)
	}
	released, index := rdb.PTTL(ctx, "twine:session:p").Val(), rdb.PTTL(ctx, "twine:browser:b").Val()
	if held < recovery.DefaultHold || released > time.Minute+lateness || index < released-time.Second {
		t.Errorf("expires in %v while held, %v once released; its index in %v", held, released, index)
	}
}
