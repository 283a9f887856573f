package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/twine-realtime/twine/recovery"
)

// fakeAPI takes batches.
type fakeAPI struct {
	API
	write func(ctx context.Context, requests []types.WriteRequest) ([]types.WriteRequest, error)

	mu     sync.Mutex
	stored map[string]int // how often, by key
}

func (f *fakeAPI) BatchWriteItem(ctx context.Context, in *ddb.BatchWriteItemInput, _ ...func(*ddb.Options)) (*ddb.BatchWriteItemOutput, error) {
	requests := in.RequestItems["twine"]
	if len(requests) == 0 || len(requests) > maxBatchItems {
		return nil, fmt.Errorf("a batch of %d items", len(requests))
	}
	var left []types.WriteRequest
	if f.write != nil {
		var err error
		if left, err = f.write(ctx, requests); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := make(map[string]bool)
	for _, r := range requests[:len(requests)-len(left)] {
		key := keyString(r.PutRequest.Item)
		if keys[key] {
			return nil, errors.New("a batch has a key twice")
		}
		keys[key] = true
		f.stored[key]++
	}
	return &ddb.BatchWriteItemOutput{UnprocessedItems: map[string][]types.WriteRequest{"twine": left}}, nil
}

func fakeStore(t *testing.T, opts Options) (*Store, *fakeAPI) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	api := &fakeAPI{stored: make(map[string]int)}
	opts.Logger = slog.New(slog.DiscardHandler)
	s := &Store{api: api, opts: opts.withDefaults()}
	s.start()
	t.Cleanup(func() { _ = s.Close() })
	return s, api
}

func items(n, from int) []item {
	var list []item
	for i := range n {
		list = append(list, keyOf("p", recovery.Offset{MS: 1, Seq: uint64(from + i)}))
	}
	return list
}

var ctx = context.Background()

// Publishers that each write one item share batches.
func TestBatchesFillUp(t *testing.T) {
	s, api := fakeStore(t, Options{})
	api.write = func(context.Context, []types.WriteRequest) ([]types.WriteRequest, error) {
		<-time.After(3 * time.Millisecond)
		return nil, nil
	}
	var running sync.WaitGroup
	for p := range 64 {
		running.Go(func() {
			for i := range 40 {
				if err := s.batch.write(ctx, items(1, p*1000+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	st := s.Stats()
	if len(api.stored) != 64*40 || st.Items != 64*40 {
		t.Errorf("%d items stored, %+v", len(api.stored), st)
	}
	if average := float64(st.Items) / float64(st.Batches); average < 15 {
		t.Errorf("%.1f items a batch", average)
	}
}

// One who is alone does not wait for others.
func TestLonelyItemGoesOutAtOnce(t *testing.T) {
	s, _ := fakeStore(t, Options{MaxWait: time.Hour})
	for i := range 100 {
		if err := s.batch.write(ctx, items(1, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnprocessedItemsAreWrittenAgain(t *testing.T) {
	s, api := fakeStore(t, Options{Backoff: time.Millisecond})
	calls := 0
	api.write = func(_ context.Context, requests []types.WriteRequest) ([]types.WriteRequest, error) {
		if calls++; calls%2 == 0 {
			return nil, &types.ProvisionedThroughputExceededException{}
		}
		return requests[len(requests)/2+1:], nil
	}
	if err := s.batch.write(ctx, items(20, 0)); err != nil {
		t.Fatal(err)
	}
	if len(api.stored) != 20 {
		t.Errorf("%d items stored", len(api.stored))
	}
	for key, n := range api.stored {
		if n != 1 {
			t.Errorf("%q was written %d times", key, n)
		}
	}
}

func TestSameKeyTwice(t *testing.T) {
	s, api := fakeStore(t, Options{})
	if err := s.batch.write(ctx, append(items(10, 0), items(10, 5)...)); err != nil {
		t.Fatal(err)
	}
	if len(api.stored) != 15 {
		t.Errorf("%d items stored", len(api.stored))
	}
}

// One caller's item that is refused fails that caller alone.
func TestRefusedAlone(t *testing.T) {
	s, api := fakeStore(t, Options{})
	hold := make(chan struct{})
	api.write = func(_ context.Context, requests []types.WriteRequest) ([]types.WriteRequest, error) {
		<-hold
		for _, r := range requests {
			if getString(r.PutRequest.Item, attrPartition) == "bad" {
				return nil, errors.New("refused")
			}
		}
		return nil, nil
	}
	var running sync.WaitGroup
	for i := range 30 {
		running.Go(func() {
			list := items(1, i)
			if i == 7 {
				list = []item{keyOf("bad", recovery.Offset{})}
			}
			if err := s.batch.write(ctx, list); (err != nil) != (i == 7) {
				t.Errorf("item %d: %v", i, err)
			}
		})
	}
	close(hold)
	running.Wait()
}

// A queue that is full makes callers wait, as long as their context lasts, and a
// call that never answers holds nobody longer than that.
func TestQueueIsBounded(t *testing.T) {
	s, api := fakeStore(t, Options{MaxQueued: 30, Writers: 1, CallTimeout: 20 * time.Millisecond})
	api.write = func(ctx context.Context, _ []types.WriteRequest) ([]types.WriteRequest, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	var running sync.WaitGroup
	var mu sync.Mutex
	full := 0
	for i := range 100 {
		running.Go(func() {
			err := s.batch.write(short, items(1, i))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, recovery.ErrFull) {
				full++
			}
		})
	}
	running.Wait()
	if full < 100-30-maxBatchItems {
		t.Errorf("%d of 100 found the queue full", full)
	}
}

func TestClosed(t *testing.T) {
	s, _ := fakeStore(t, Options{})
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.batch.write(ctx, items(1, 0)); !errors.Is(err, recovery.ErrClosed) {
		t.Error(err)
	}
}
