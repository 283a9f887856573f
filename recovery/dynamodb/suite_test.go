//go:build dynamodb

package dynamodb_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
	"github.com/twine-realtime/twine/recovery/recoverytest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestLog(t *testing.T) {
	recoverytest.Log(t, func(t testing.TB) recoverytest.LogUnderTest {
		api := client(server(t).address())
		opts := dynamodb.Options{Table: newTable(t, api)}
		store := openStore(t, api, opts)
		return recoverytest.LogUnderTest{
			Log: store.Log(),
			Reopen: func() recovery.Log {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				store = openStore(t, api, opts)
				return store.Log()
			},
		}
	})
}

func TestSessions(t *testing.T) {
	recoverytest.Sessions(t, func(t testing.TB, now func() time.Time) recoverytest.SessionsUnderTest {
		api := client(server(t).address())
		opts := dynamodb.Options{Table: newTable(t, api), Hold: recoverytest.Hold, Now: now}
		store := openStore(t, api, opts)
		return recoverytest.SessionsUnderTest{
			Sessions: store.Sessions(),
			Reopen: func() recovery.Sessions {
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				store = openStore(t, api, opts)
				return store.Sessions()
			},
		}
	})
}
