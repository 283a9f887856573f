// Package secrets reads the daemon's API keys from AWS Secrets Manager, so that they stand neither in its environment
// nor in its arguments.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
)

// What APIKeys answers. Match with errors.Is.
var (
	// ErrReference means that what should name a secret does not.
	ErrReference = errors.New("not the name or ARN of a secret")
	// ErrNoRegion means that nothing says in which AWS region the secret is.
	ErrNoRegion = errors.New("the AWS region is not known")
	// ErrNotFound means that there is no such secret, or that it has no value yet.
	ErrNotFound = errors.New("no such secret")
	// ErrDenied means that whoever runs the daemon may not read the secret.
	ErrDenied = errors.New("reading the secret is not allowed")
	// ErrContent means that the secret was read, and that it holds no keys. The error does not quote it.
	ErrContent = errors.New("the secret holds no usable API key")
)

// Options of APIKeys. The zero value is useful.
type Options struct {
	// Endpoint is where Secrets Manager is, such as https://vpce-1234.secretsmanager.eu-west-1.vpce.amazonaws.com.
	// Empty: where the SDK finds it, which AWS_ENDPOINT_URL_SECRETS_MANAGER may say.
	Endpoint string
	// Timeout bounds the whole, with all attempts. Zero: 30 s.
	Timeout time.Duration
	// AttemptTimeout bounds one attempt. Zero: 5 s.
	AttemptTimeout time.Duration
	// Backoff is the longest pause before the second attempt. It doubles with each, up to 16 times itself, and the real
	// pause is a random part of it. Zero: 200 ms.
	Backoff time.Duration
}

func (o Options) withDefaults() Options {
	for value, fallback := range map[*time.Duration]time.Duration{
		&o.Timeout: 30 * time.Second, &o.AttemptTimeout: 5 * time.Second, &o.Backoff: 200 * time.Millisecond,
	} {
		if *value <= 0 {
			*value = fallback
		}
	}
	return o
}

// APIKeys reads the current version of the secret that reference names, by its ARN or its name, and returns the keys in
// it: at least one, each fit for an Authorization header. A secret that is in another region than the daemon is named by
// its ARN.
//
// Credentials are those that the AWS SDK finds: of the container's task role, of the instance, or of the environment.
// What may go away by itself, such as throttling or a broken connection, is tried again until ctx or Options.Timeout
// ends. Nothing that an error says quotes the secret's value.
func APIKeys(ctx context.Context, reference string, opts Options) ([]string, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	client, err := newClient(ctx, reference, opts)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", reference, err)
	}
	text, err := read(ctx, client, reference, opts)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", reference, err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", reference, err)
	}
	return keys, nil
}

func newClient(ctx context.Context, reference string, opts Options) (*secretsmanager.Client, error) {
	region, err := regionOf(reference)
	if err != nil {
		return nil, err
	}
	loaders := []func(*config.LoadOptions) error{
		// A call is tried again in read, where its deadline is known, and nowhere else.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if region != "" {
		loaders = append(loaders, config.WithRegion(region))
	}
	settings, err := config.LoadDefaultConfig(ctx, loaders...)
	if err != nil {
		return nil, fmt.Errorf("cannot read the AWS settings: %w", err)
	}
	if settings.Region == "" {
		return nil, fmt.Errorf("%w: set AWS_REGION, or name the secret by its ARN", ErrNoRegion)
	}
	return secretsmanager.NewFromConfig(settings, func(o *secretsmanager.Options) {
		if opts.Endpoint != "" {
			o.BaseEndpoint = aws.String(opts.Endpoint)
		}
	}), nil
}

// regionOf returns the region in an ARN, and nothing for a name.
func regionOf(reference string) (string, error) {
	if !arn.IsARN(reference) {
		// Names have letters, digits and /_+=.@- alone. A colon is that of an ARN with a piece missing.
		for _, c := range reference {
			if c <= ' ' || c > '~' || c == ':' {
				return "", fmt.Errorf("%w: it has a %q", ErrReference, c)
			}
		}
		if reference == "" {
			return "", fmt.Errorf("%w: it is empty", ErrReference)
		}
		return "", nil
	}
	parsed, err := arn.Parse(reference)
	if err != nil || parsed.Service != "secretsmanager" || parsed.Region == "" {
		return "", fmt.Errorf("%w: want arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME", ErrReference)
	}
	return parsed.Region, nil
}

var classify = retry.NewStandard()

// read returns the secret's text, trying as often as it makes sense.
func read(ctx context.Context, client *secretsmanager.Client, reference string, opts Options) (string, error) {
	for attempt := 0; ; attempt++ {
		out, err := func() (*secretsmanager.GetSecretValueOutput, error) {
			ctx, cancel := context.WithTimeout(ctx, opts.AttemptTimeout)
			defer cancel()
			return client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &reference})
		}()
		if err == nil {
			if out.SecretString == nil {
				return "", fmt.Errorf("%w: it is binary; store text", ErrContent)
			}
			return *out.SecretString, nil
		}
		err = explain(err)
		again := classify.IsErrorRetryable(err) || errors.Is(err, context.DeadlineExceeded)
		if !again {
			return "", err
		}
		if !pause(ctx, opts.Backoff, attempt) {
			return "", fmt.Errorf("gave up after %d attempts: %w", attempt+1, errors.Join(err, ctx.Err()))
		}
	}
}

// explain adds what the operator can do to the errors that only the operator can mend.
func explain(err error) error {
	var refused smithy.APIError
	if !errors.As(err, &refused) {
		return fmt.Errorf("failed to ask Secrets Manager: %w", err)
	}
	switch refused.ErrorCode() {
	case "ResourceNotFoundException":
		return fmt.Errorf("%w: look at its name, its region, and whether it has a value: %w", ErrNotFound, err)
	case "AccessDeniedException", "DecryptionFailure":
		return fmt.Errorf("%w: the role needs secretsmanager:GetSecretValue on it, and kms:Decrypt if it has a key of its own: %w", ErrDenied, err)
	}
	return fmt.Errorf("failed to ask Secrets Manager: %w", err)
}

// pause waits before the attempt after the given one; false: ctx ended.
func pause(ctx context.Context, backoff time.Duration, attempt int) bool {
	timer := time.NewTimer(rand.N(backoff<<min(attempt, 4)) + 1)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
