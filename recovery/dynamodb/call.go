package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// once turns off the client's retries: a call is retried here, where the
// deadline of the operation is known, and nowhere else.
func once(o *ddb.Options) { o.Retryer = aws.NopRetryer{} }

var classify = retry.NewStandard()

// retryable says whether an error may go away by itself: throttling, a failing
// service, a broken connection, or an attempt that took too long.
func retryable(err error) bool {
	return classify.IsErrorRetryable(err) || errors.Is(err, context.DeadlineExceeded)
}

func conditionFailed(err error) bool {
	var failed *types.ConditionalCheckFailedException
	return errors.As(err, &failed)
}

// call makes a call of the API, with a deadline for each attempt, until it
// succeeds, ctx or Options.Timeout ends, or it fails in a way that will not go
// away. Since an attempt that failed may have taken place, everything that is
// called has to bear being done twice.
func call[In, Out any](s *Store, ctx context.Context, what string, f func(context.Context, In, ...func(*ddb.Options)) (Out, error), in In) (Out, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		out, err := func() (Out, error) {
			ctx, cancel := context.WithTimeout(ctx, s.opts.CallTimeout)
			defer cancel()
			return f(ctx, in, once)
		}()
		if err == nil {
			return out, nil
		}
		err = explain(what, err)
		if !retryable(err) {
			return out, err
		}
		s.retries.Add(1)
		if !s.pause(ctx, attempt) {
			return out, errors.Join(err, ctx.Err())
		}
	}
}

func explain(what string, err error) error {
	var missing *types.ResourceNotFoundException
	if errors.As(err, &missing) {
		return fmt.Errorf("failed to %s: %w: %w", what, ErrNoTable, err)
	}
	return fmt.Errorf("failed to %s: %w", what, err)
}

// pause waits before retry number attempt; false: ctx ended.
func (s *Store) pause(ctx context.Context, attempt int) bool {
	timer := time.NewTimer(rand.N(s.opts.Backoff<<min(attempt, 5)) + 1)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
