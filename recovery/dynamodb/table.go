package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// CreateTable makes the table that opts names, with on-demand capacity and TTL,
// and waits until it can be used, or for a minute. A table that exists is
// checked and otherwise left alone, except that its TTL is switched on; so it
// may be called at every start, and by several nodes at once. Where TTL is not
// available, or not allowed, what expires stays stored and is not read; a
// warning says so. Errors match ErrTable if the table has other keys.
func CreateTable(ctx context.Context, client API, opts Options) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s := &Store{api: client, opts: opts.withDefaults()}
	_, err := call(s, ctx, "create table "+s.opts.Table, s.api.CreateTable, &ddb.CreateTableInput{
		TableName:   &s.opts.Table,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(attrPartition), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(attrOffset), AttributeType: types.ScalarAttributeTypeB},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String(attrPartition), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(attrOffset), KeyType: types.KeyTypeRange},
		},
	})
	var exists *types.ResourceInUseException
	if err != nil && !errors.As(err, &exists) {
		return err
	}
	for {
		out, err := s.describe(ctx)
		if err == nil && out.Table.TableStatus == types.TableStatusActive {
			break
		}
		// Right after it was created, a table may not be known everywhere.
		if err != nil && !errors.Is(err, ErrNoTable) {
			return err
		}
		if !s.pause(ctx, 3) {
			return errors.Join(fmt.Errorf("waiting for table %s", s.opts.Table), err, ctx.Err())
		}
	}
	if err := s.checkTable(ctx); err != nil {
		return err
	}
	if err := s.switchTTLOn(ctx); err != nil {
		s.opts.Logger.Warn("recovery: the table has no TTL; what expires stays stored", "table", s.opts.Table, "error", err)
	}
	return nil
}

func (s *Store) describe(ctx context.Context) (*ddb.DescribeTableOutput, error) {
	return call(s, ctx, "describe table "+s.opts.Table, s.api.DescribeTable, &ddb.DescribeTableInput{TableName: &s.opts.Table})
}

func (s *Store) switchTTLOn(ctx context.Context) error {
	out, err := call(s, ctx, "describe the TTL", s.api.DescribeTimeToLive, &ddb.DescribeTimeToLiveInput{TableName: &s.opts.Table})
	if err == nil && out.TimeToLiveDescription != nil {
		switch d := out.TimeToLiveDescription; {
		case d.TimeToLiveStatus == types.TimeToLiveStatusDisabled, d.TimeToLiveStatus == types.TimeToLiveStatusDisabling:
		case aws.ToString(d.AttributeName) == attrExpires:
			return nil
		case d.AttributeName != nil:
			return fmt.Errorf("TTL is by attribute %s, not %s", *d.AttributeName, attrExpires)
		}
	}
	_, err = call(s, ctx, "switch TTL on", s.api.UpdateTimeToLive, &ddb.UpdateTimeToLiveInput{
		TableName:               &s.opts.Table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(attrExpires), Enabled: aws.Bool(true)},
	})
	return err
}

// checkTable looks whether the table is there and has the right keys. Whoever
// may not describe it has to know.
func (s *Store) checkTable(ctx context.Context) error {
	out, err := s.describe(ctx)
	var refused smithy.APIError
	if errors.As(err, &refused) && refused.ErrorCode() == "AccessDeniedException" {
		s.opts.Logger.Info("recovery: the table's keys cannot be checked", "table", s.opts.Table, "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	kinds := make(map[string]types.ScalarAttributeType)
	for _, a := range out.Table.AttributeDefinitions {
		kinds[aws.ToString(a.AttributeName)] = a.AttributeType
	}
	keys := make(map[types.KeyType]string)
	for _, k := range out.Table.KeySchema {
		keys[k.KeyType] = aws.ToString(k.AttributeName)
	}
	if keys[types.KeyTypeHash] != attrPartition || keys[types.KeyTypeRange] != attrOffset ||
		kinds[attrPartition] != types.ScalarAttributeTypeS || kinds[attrOffset] != types.ScalarAttributeTypeB {
		return fmt.Errorf("%w: %s needs partition key %q (S) and sort key %q (B)", ErrTable, s.opts.Table, attrPartition, attrOffset)
	}
	return nil
}
