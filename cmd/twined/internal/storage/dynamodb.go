package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/twine-realtime/twine/cmd/twined/internal/config"
	"github.com/twine-realtime/twine/recovery/dynamodb"
)

// openTable makes a DynamoDB table the storage of a daemon that stands alone.
func (s *Storage) openTable(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	store, err := s.dialTable(ctx, cfg, dynamodb.Options{Logger: log})
	if err != nil {
		return err
	}
	s.Recovery.Log, s.Recovery.Sessions = s.watch(store.Log()), store.Sessions()
	return nil
}

func (s *Storage) dialTable(ctx context.Context, cfg *config.Config, opts dynamodb.Options) (*dynamodb.Store, error) {
	opts.Table, opts.Window = cfg.DynamoDBTable, cfg.RecoveryWindow
	var load []func(*awsconfig.LoadOptions) error
	if cfg.DynamoDBEndpoint != "" {
		load = append(load, awsconfig.WithBaseEndpoint(cfg.DynamoDBEndpoint))
	}
	settings, err := awsconfig.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("--dynamodb-table: AWS settings: %w", err)
	}
	if settings.Region == "" {
		return nil, errors.New("--dynamodb-table: no AWS region is set; set AWS_REGION")
	}
	client := ddb.NewFromConfig(settings, func(o *ddb.Options) {
		// The endpoint is what was asked for; accounts have ones of their own, which need a look at the credentials.
		o.AccountIDEndpointMode = aws.AccountIDEndpointModeDisabled
	})
	var store *dynamodb.Store
	err = persist(ctx, opts.Logger, "DynamoDB", func(ctx context.Context) (final bool, err error) {
		if cfg.DynamoDBCreateTable {
			if err := dynamodb.CreateTable(ctx, client, opts); err != nil {
				return errors.Is(err, dynamodb.ErrTable), err
			}
		}
		store, err = dynamodb.Open(ctx, client, opts)
		return errors.Is(err, dynamodb.ErrTable) || errors.Is(err, dynamodb.ErrNoTable), err
	})
	if errors.Is(err, dynamodb.ErrNoTable) {
		return nil, fmt.Errorf("--dynamodb-table %s: %w; create it, or let twined do so with --dynamodb-create-table", cfg.DynamoDBTable, err)
	}
	if err != nil {
		return nil, fmt.Errorf("--dynamodb-table %s: %w", cfg.DynamoDBTable, err)
	}
	s.onClose(func(context.Context) error { return store.Close() })
	return store, nil
}
