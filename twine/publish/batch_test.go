package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func numbered(count int) []Message {
	messages := make([]Message, count)
	for n := range messages {
		messages[n] = Message{Room: "r", Data: n}
	}
	return messages
}

// checkOrder checks that the server has got the numbers 0 to count-1, each once, in their order.
func (s *server) checkOrder(count int) {
	s.t.Helper()
	taken := s.received()
	if len(taken) != count {
		s.t.Errorf("%d messages were taken, want %d", len(taken), count)
	}
	for n, m := range taken {
		if string(m.Data) != fmt.Sprint(n) {
			s.t.Fatalf("message %d is %s", n, m.Data)
		}
	}
}

func TestBatchIsDivided(t *testing.T) {
	s := newServer(t)
	results, err := s.client(Options{}).PublishBatch(t.Context(), numbered(2500))
	if err != nil || len(results) != 2500 || results[2499].Offset != "2500-0" || !slices.Equal(s.sizes, []int{1000, 1000, 500}) {
		t.Errorf("%v, %d results, sizes %v", err, len(results), s.sizes)
	}
	s.checkOrder(2500)
}

func TestLargeMessagesAreDivided(t *testing.T) {
	s := newServer(t)
	s.before = func(_ int, r *http.Request) (*http.Response, error) {
		if r.ContentLength > 1_000_000 {
			return problem(413, "the body is larger than 1000000 bytes"), nil
		}
		return nil, nil
	}
	text := strings.Repeat("x", 300_000)
	messages := []Message{{Room: "r", Data: text}, {Room: "r", Data: text}, {Room: "r", Data: text}, {Room: "r", Data: text},
		{Room: "r", Data: strings.Repeat("x", 1_000_000)}, {Room: "r", Data: text}}
	results, err := s.client(Options{}).PublishBatch(t.Context(), messages)
	var batch *BatchError
	var refusal *Error
	if !errors.As(err, &batch) || !errors.As(batch.Errors[4], &refusal) || refusal.Status != 413 || len(batch.Unwrap()) != 1 || results[4] != (Result{}) ||
		results[5].Offset != "5-0" || !slices.Equal(s.sizes, []int{3, 1, 1, 1}) {
		t.Errorf("%v, sizes %v, %+v", err, s.sizes, results)
	}
	if !strings.HasPrefix(err.Error(), "1 of 6 messages were not published; message 4: publish: the server answered 413") {
		t.Error(err)
	}
}

func TestEmptyBatch(t *testing.T) {
	s := newServer(t)
	if results, err := s.client(Options{}).PublishBatch(t.Context(), nil); err != nil || len(results) != 0 || s.requests != 0 {
		t.Errorf("%v, %v", results, err)
	}
}

// TestBatchWithMalformedMessages: the daemon takes none of them, and says which is why. The others are sent again.
func TestBatchWithMalformedMessages(t *testing.T) {
	s := newServer(t)
	messages := []Message{{Room: "r", Data: 0}, {Room: "r", Event: "disconnect"}, {Data: "no room"}, {Room: "r", Data: 1}}
	results, err := s.client(Options{}).PublishBatch(t.Context(), messages)
	var batch *BatchError
	var refusal *Error
	if !errors.As(err, &batch) || !errors.As(batch.Errors[1], &refusal) || refusal.Status != 400 || batch.Errors[2] == nil ||
		batch.Errors[0] != nil || batch.Errors[3] != nil || results[0].Offset == "" || results[3].Offset == "" {
		t.Errorf("%v, %+v", err, results)
	}
	s.checkOrder(2)
	if s.requests != 2 {
		t.Errorf("%d requests", s.requests)
	}
}

// TestBatchRefusedWithoutReasons: one that is refused as a whole is halved until it is clear for which message.
func TestBatchRefusedWithoutReasons(t *testing.T) {
	s := newServer(t)
	s.after = func(_ int, answer *http.Response) (*http.Response, error) {
		if answer.StatusCode == 400 {
			return answerOf(400, "text/html", "malformed"), nil
		}
		return answer, nil
	}
	messages := numbered(100)
	messages = slices.Insert(messages, 37, Message{Room: "r", Event: "disconnect"})
	_, err := s.client(Options{}).PublishBatch(t.Context(), messages)
	var batch *BatchError
	if !errors.As(err, &batch) || len(batch.Unwrap()) != 1 || batch.Errors[37] == nil || errors.As(err, new(*GaveUpError)) {
		t.Error(err)
	}
	s.checkOrder(100)
	if s.requests > 20 {
		t.Errorf("%d requests", s.requests)
	}
}

// TestBatchStoredInPart: what could not be stored is sent again, alone, and what was is not.
func TestBatchStoredInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, _ *http.Request) (*http.Response, error) {
			if n > 1 {
				return nil, nil
			}
			response := answerOf(503, "application/problem+json", map[string]any{"status": 503, "results": []map[string]any{
				{"offset": "7-0"}, {"status": 503, "error": "not stored"}, {"offset": "8-0", "duplicate": true}, {"status": 422, "error": "the id is another's"}, {"status": 503, "error": "not stored"}}})
			response.Header.Set("Retry-After", "3")
			return response, nil
		}
		results, err := s.client(Options{}).PublishBatch(t.Context(), numbered(5))
		var batch *BatchError
		var refusal *Error
		if !errors.As(err, &batch) || len(batch.Unwrap()) != 1 || !errors.As(batch.Errors[3], &refusal) || refusal.Status != 422 || !slices.Equal(s.sizes, []int{5, 2}) {
			t.Errorf("%v, sizes %v", err, s.sizes)
		}
		taken := s.received()
		if results[0].Offset != "7-0" || !results[2].Duplicate || results[1].Offset != "1-0" || results[4].Offset != "2-0" ||
			taken[0].ID != results[1].ID || string(taken[0].Data) != "1" || string(taken[1].Data) != "4" {
			t.Errorf("%+v", results)
		}
		if wait := s.times[1].Sub(s.times[0]); wait < 3*time.Second {
			t.Errorf("waited %s", wait)
		}
	})
}

// TestBatchAnswerLost: nothing of it is delivered twice.
func TestBatchAnswerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.after = func(n int, answer *http.Response) (*http.Response, error) {
			if n%2 == 1 {
				return nil, errReset
			}
			return answer, nil
		}
		results, err := s.client(Options{}).PublishBatch(t.Context(), numbered(1500))
		if err != nil || s.requests != 4 || !results[0].Duplicate || !results[1499].Duplicate {
			t.Errorf("%v after %d requests", err, s.requests)
		}
		s.checkOrder(1500)
	})
}

func TestBatchGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(n int, _ *http.Request) (*http.Response, error) {
			if n > 1 {
				return problem(503, "full"), nil
			}
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		results, err := s.client(Options{}).PublishBatch(ctx, numbered(2500))
		var batch *BatchError
		var gaveUp *GaveUpError
		if !errors.As(err, &batch) || len(batch.Unwrap()) != 1500 || results[999].Offset == "" || !errors.Is(err, context.DeadlineExceeded) ||
			!errors.As(batch.Errors[1000], &gaveUp) || gaveUp.Attempts < 2 || gaveUp.ID == "" {
			t.Errorf("%.200v", err)
		}
	})
}

// TestBatchHeldBack: a server that never says which message is wrong does not keep a client busy for ever.
func TestBatchHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.before = func(int, *http.Request) (*http.Response, error) {
			return answerOf(400, "application/problem+json", map[string]any{"results": []map[string]any{{"status": 424}, {"status": 424}}}), nil
		}
		if _, err := s.client(Options{}).PublishBatch(t.Context(), numbered(2)); !errors.As(err, new(*GaveUpError)) || s.requests != 10 {
			t.Errorf("%v after %d requests", err, s.requests)
		}
	})
}
