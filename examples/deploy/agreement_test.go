package deploy

import (
	"context"
	"fmt"
	"go/ast"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/twine-realtime/twine/recovery/dynamodb"
)

// silence is the longest time for which the client of a healthy connection may say nothing: the reference's pingInterval
// and pingTimeout, which are the daemon's too.
const silence = 45 * time.Second

func container(t *testing.T, tmpl *template) object {
	t.Helper()
	task := tmpl.resource(t, "Task", "AWS::ECS::TaskDefinition")
	list, _ := task["ContainerDefinitions"].([]any)
	if len(list) != 1 {
		t.Fatalf("%d containers", len(list))
	}
	return list[0].(object)
}

// named returns a list of {Name, <value>} as a mapping.
func named(list any, key, value string) map[string]any {
	m := map[string]any{}
	for _, item := range asList(list) {
		m[fmt.Sprint(item.(object)[key])] = item.(object)[value]
	}
	return m
}

func TestEnvironmentIsTheDaemons(t *testing.T) {
	definition := container(t, loadTemplate(t, "twine.yaml"))
	plain, secret := named(definition["Environment"], "Name", "Value"), named(definition["Secrets"], "Name", "ValueFrom")
	checkEnvironment(t, "twine.yaml", plain)
	checkEnvironment(t, "twine.yaml", secret)
	for _, variable := range []string{"TWINE_LISTEN", "TWINE_DYNAMODB_TABLE", "TWINE_API_KEY_SECRET", "AWS_REGION"} {
		if plain[variable] == nil {
			t.Errorf("twine.yaml does not set %s", variable)
		}
	}
	if secret["TWINE_REDIS_URL"] == nil {
		t.Error("twine.yaml does not say where Redis is")
	}
	for _, variable := range []string{"TWINE_API_KEY", "TWINE_REDIS_URL"} {
		if _, ok := plain[variable]; ok {
			t.Errorf("anyone who may look at the task definition can read %s", variable)
		}
	}
}

// What resolves a secret may stand only where the resources need it, and never where people read it.
func TestSecretsAreNotShown(t *testing.T) {
	for _, name := range templateNames(t) {
		walk("", loadTemplate(t, name).root, func(path string, v any) {
			text, ok := v.(string)
			if !ok || !strings.Contains(text, "{{resolve:") {
				return
			}
			if !strings.HasPrefix(path, ".Resources.CacheUrl.Properties.SecretString.") && !strings.HasPrefix(path, ".Resources.Cache.Properties.AuthToken.") {
				t.Errorf("%s: %s resolves a secret", name, path)
			}
		})
	}
}

func TestPortsAgree(t *testing.T) {
	tmpl := loadTemplate(t, "twine.yaml")
	definition := container(t, tmpl)
	port := defaultPort(t)
	ports := map[string]any{
		"TWINE_LISTEN":   portOf(t, fmt.Sprint(named(definition["Environment"], "Name", "Value")["TWINE_LISTEN"])),
		"container":      definition["PortMappings"].([]any)[0].(object)["ContainerPort"],
		"target group":   tmpl.resource(t, "Targets", "AWS::ElasticLoadBalancingV2::TargetGroup")["Port"],
		"service":        tmpl.resource(t, "Service", "AWS::ECS::Service")["LoadBalancers"].([]any)[0].(object)["ContainerPort"],
		"group of tasks": tmpl.resource(t, "TaskGroup", "AWS::EC2::SecurityGroup")["SecurityGroupIngress"].([]any)[0].(object)["FromPort"],
		"and to":         tmpl.resource(t, "TaskGroup", "AWS::EC2::SecurityGroup")["SecurityGroupIngress"].([]any)[0].(object)["ToPort"],
		"among tasks":    tmpl.resource(t, "TaskToTask", "AWS::EC2::SecurityGroupIngress")["FromPort"],
		"among and to":   tmpl.resource(t, "TaskToTask", "AWS::EC2::SecurityGroupIngress")["ToPort"],
	}
	for where, got := range ports {
		if got != port {
			t.Errorf("%s: port %v, want %d", where, got, port)
		}
	}
	cache := tmpl.resource(t, "Cache", "AWS::ElastiCache::ReplicationGroup")["Port"]
	if ingress := tmpl.resource(t, "CacheGroup", "AWS::EC2::SecurityGroup")["SecurityGroupIngress"].([]any)[0].(object); ingress["FromPort"] != cache || ingress["ToPort"] != cache {
		t.Errorf("the cache is at %v, and reached at %v", cache, ingress)
	}
	listen, _ := named(definition["Environment"], "Name", "Value")["TWINE_LISTEN"].(string)
	if !strings.HasPrefix(listen, "0.0.0.0:") && !strings.HasPrefix(listen, ":") {
		t.Errorf("nobody reaches a container that listens on %s", listen)
	}
}

func TestHealthChecksAreTheDaemons(t *testing.T) {
	tmpl := loadTemplate(t, "twine.yaml")
	targets := tmpl.resource(t, "Targets", "AWS::ElasticLoadBalancingV2::TargetGroup")
	if path := fmt.Sprint(targets["HealthCheckPath"]); path != "/readyz" || !routes(t)["GET "+path] {
		t.Errorf("the load balancer asks %s of a daemon that has %v", path, routes(t))
	}
	if targets["HealthCheckTimeoutSeconds"].(int) >= targets["HealthCheckIntervalSeconds"].(int) {
		t.Error("a check may take longer than until the next one")
	}
	command := container(t, tmpl)["HealthCheck"].(object)["Command"]
	want := append([]any{"CMD"}, readDockerfile(t).healthcheck...)
	if !reflect.DeepEqual(command, want) {
		t.Errorf("the container is checked with %v, the image with %v", command, want)
	}
}

func TestTimesAgree(t *testing.T) {
	tmpl := loadTemplate(t, "twine.yaml")
	definition := container(t, tmpl)
	drain := duration(t, named(definition["Environment"], "Name", "Value")["TWINE_DRAIN"])
	stop := time.Duration(definition["StopTimeout"].(int)) * time.Second
	if stop < drain+10*time.Second || stop > 2*time.Minute {
		t.Errorf("a task that drains for %s is killed after %s; Fargate allows 2m", drain, stop)
	}
	balancer := named(tmpl.resource(t, "Balancer", "AWS::ElasticLoadBalancingV2::LoadBalancer")["LoadBalancerAttributes"], "Key", "Value")
	idle := duration(t, fmt.Sprint(balancer["idle_timeout.timeout_seconds"], "s"))
	if idle <= silence || idle >= daemonIdleTimeout(t) {
		t.Errorf("the load balancer closes after %s; clients may be silent for %s, the daemon closes after %s", idle, silence, daemonIdleTimeout(t))
	}
	targets := named(tmpl.resource(t, "Targets", "AWS::ElasticLoadBalancingV2::TargetGroup")["TargetGroupAttributes"], "Key", "Value")
	delay := duration(t, fmt.Sprint(targets["deregistration_delay.timeout_seconds"], "s"))
	if delay > drain {
		t.Errorf("targets are deregistered for %s, longer than the daemon drains, %s", delay, drain)
	}
	if targets["stickiness.enabled"] == nil || targets["stickiness.type"] != "lb_cookie" {
		t.Errorf("stickiness: %v", targets)
	}
}

// creation notes what CreateTable asks for. Any other call would panic.
type creation struct {
	dynamodb.API
	table *ddb.CreateTableInput
	ttl   *ddb.UpdateTimeToLiveInput
}

func (c *creation) CreateTable(_ context.Context, in *ddb.CreateTableInput, _ ...func(*ddb.Options)) (*ddb.CreateTableOutput, error) {
	c.table = in
	return &ddb.CreateTableOutput{}, nil
}

func (c *creation) DescribeTable(context.Context, *ddb.DescribeTableInput, ...func(*ddb.Options)) (*ddb.DescribeTableOutput, error) {
	return &ddb.DescribeTableOutput{Table: &types.TableDescription{
		TableStatus: types.TableStatusActive, KeySchema: c.table.KeySchema, AttributeDefinitions: c.table.AttributeDefinitions,
	}}, nil
}

func (c *creation) DescribeTimeToLive(context.Context, *ddb.DescribeTimeToLiveInput, ...func(*ddb.Options)) (*ddb.DescribeTimeToLiveOutput, error) {
	return &ddb.DescribeTimeToLiveOutput{}, nil
}

func (c *creation) UpdateTimeToLive(_ context.Context, in *ddb.UpdateTimeToLiveInput, _ ...func(*ddb.Options)) (*ddb.UpdateTimeToLiveOutput, error) {
	c.ttl = in
	return &ddb.UpdateTimeToLiveOutput{}, nil
}

// The table of the template is the one that the code would make.
func TestTableIsTheCodes(t *testing.T) {
	var made creation
	if err := dynamodb.CreateTable(context.Background(), &made, dynamodb.Options{}); err != nil {
		t.Fatal(err)
	}
	var attributes, keys []any
	for _, a := range made.table.AttributeDefinitions {
		attributes = append(attributes, object{"AttributeName": *a.AttributeName, "AttributeType": string(a.AttributeType)})
	}
	for _, k := range made.table.KeySchema {
		keys = append(keys, object{"AttributeName": *k.AttributeName, "KeyType": string(k.KeyType)})
	}
	table := loadTemplate(t, "twine.yaml").resource(t, "History", "AWS::DynamoDB::Table")
	for name, want := range map[string]any{
		"AttributeDefinitions":             attributes,
		"KeySchema":                        keys,
		"BillingMode":                      string(made.table.BillingMode),
		"TimeToLiveSpecification":          object{"AttributeName": *made.ttl.TimeToLiveSpecification.AttributeName, "Enabled": aws.ToBool(made.ttl.TimeToLiveSpecification.Enabled)},
		"PointInTimeRecoverySpecification": object{"PointInTimeRecoveryEnabled": true},
	} {
		if !reflect.DeepEqual(table[name], want) {
			t.Errorf("%s: the template has %v, the code %v", name, table[name], want)
		}
	}
}

// statements returns what a role may do, by the statements' names.
func statements(t *testing.T, tmpl *template, role string) map[string]object {
	t.Helper()
	found := map[string]object{}
	for _, policy := range tmpl.resource(t, role, "AWS::IAM::Role")["Policies"].([]any) {
		for _, statement := range policy.(object)["PolicyDocument"].(object)["Statement"].([]any) {
			found[fmt.Sprint(statement.(object)["Sid"])] = statement.(object)
		}
	}
	return found
}

// The daemon may do with its table what package dynamodb does with one that exists, and nothing else.
func TestTaskRoleIsWhatTheDaemonNeeds(t *testing.T) {
	making := []string{"CreateTable", "DescribeTimeToLive", "UpdateTimeToLive"}
	var want []any
	api := reflect.TypeFor[dynamodb.API]()
	for i := range api.NumMethod() {
		if name := api.Method(i).Name; !slices.Contains(making, name) {
			want = append(want, "dynamodb:"+name)
		}
	}
	// What is left out is called for making a table alone.
	for _, file := range parseFolder(t, "../../recovery/dynamodb") {
		for _, declaration := range file.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || f.Name.Name == "CreateTable" || f.Name.Name == "switchTTLOn" {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if ok && (slices.Contains(making, selector.Sel.Name) || selector.Sel.Name == "switchTTLOn") {
					t.Errorf("%s, which is not about making a table, has %s", f.Name.Name, selector.Sel.Name)
				}
				return true
			})
		}
	}
	tmpl := loadTemplate(t, "twine.yaml")
	role := statements(t, tmpl, "TaskRole")
	if len(role) != 2 {
		t.Errorf("the role has the statements %v", slices.Sorted(maps.Keys(role)))
	}
	if history := role["History"]; !reflect.DeepEqual(history["Action"], want) ||
		!reflect.DeepEqual(history["Resource"], object{"Fn::GetAtt": []any{"History", "Arn"}}) {
		t.Errorf("the role may do %v\nwant %v", history, want)
	}
	secret := named(container(t, tmpl)["Environment"], "Name", "Value")["TWINE_API_KEY_SECRET"]
	if key := role["ApiKey"]; key["Action"] != "secretsmanager:GetSecretValue" || !reflect.DeepEqual(key["Resource"], secret) {
		t.Errorf("the daemon reads %v, and may do %v", secret, key)
	}
	start := statements(t, tmpl, "StartRole")["CacheUrl"]
	if want := named(container(t, tmpl)["Secrets"], "Name", "ValueFrom")["TWINE_REDIS_URL"]; !reflect.DeepEqual(start["Resource"], want) {
		t.Errorf("the address of the cache is in %v, and the start may read %v", want, start["Resource"])
	}
}

// No role may do everything, or something with everything, where AWS lets one say less.
func TestNoWildcardsInPolicies(t *testing.T) {
	found := 0
	for _, name := range templateNames(t) {
		walk("", loadTemplate(t, name).root, func(path string, v any) {
			statement, ok := v.(object)
			if !ok || statement["Effect"] == nil {
				return
			}
			found++
			for _, key := range []string{"Action", "Resource", "Principal", "NotAction", "NotResource", "NotPrincipal"} {
				walk(path+"."+key, statement[key], func(path string, v any) {
					text, _ := v.(string)
					loginNeedsAll := text == "*" && key == "Resource" && statement["Action"] == "ecr:GetAuthorizationToken"
					if strings.Contains(text, "*") && !loginNeedsAll || strings.HasPrefix(key, "Not") && v != nil {
						t.Errorf("%s: %s is %v", name, path, v)
					}
				})
			}
		})
	}
	if found < 6 {
		t.Errorf("found only %d statements", found)
	}
}

// Nothing but the load balancer can be reached from outside, and nothing leaves the network unencrypted.
func TestNetworkIsClosed(t *testing.T) {
	tmpl := loadTemplate(t, "twine.yaml")
	for name := range tmpl.section("Resources") {
		resource := tmpl.section("Resources")[name].(object)
		if name == "BalancerGroup" || !strings.HasPrefix(fmt.Sprint(resource["Type"]), "AWS::EC2::SecurityGroup") {
			continue
		}
		walk(name, resource, func(path string, v any) {
			if ingress, ok := v.(object); ok && (ingress["CidrIp"] != nil || ingress["CidrIpv6"] != nil) {
				t.Errorf("%s is open to addresses", path)
			}
		})
	}
	cache := tmpl.resource(t, "Cache", "AWS::ElastiCache::ReplicationGroup")
	for _, property := range []string{"TransitEncryptionEnabled", "AtRestEncryptionEnabled", "AutomaticFailoverEnabled", "MultiAZEnabled"} {
		if cache[property] != true {
			t.Errorf("Cache: %s is %v", property, cache[property])
		}
	}
	if cache["AuthToken"] == nil {
		t.Error("the cache takes anyone")
	}
	_, url, _ := function(tmpl.resource(t, "CacheUrl", "AWS::SecretsManager::Secret")["SecretString"])
	if !strings.HasPrefix(fmt.Sprint(url), "rediss://:") {
		t.Errorf("the cache is reached without TLS: %v", url)
	}
	listener := tmpl.resource(t, "TlsListener", "AWS::ElasticLoadBalancingV2::Listener")
	if listener["Protocol"] != "HTTPS" || !strings.Contains(fmt.Sprint(listener["SslPolicy"]), "TLS13") {
		t.Errorf("the listener: %v", listener)
	}
	plain := tmpl.resource(t, "PlainListener", "AWS::ElasticLoadBalancingV2::Listener")["DefaultActions"].([]any)[0].(object)
	if plain["Type"] != "redirect" {
		t.Errorf("without TLS: %v", plain)
	}
	network := tmpl.resource(t, "Service", "AWS::ECS::Service")["NetworkConfiguration"].(object)["AwsvpcConfiguration"].(object)
	if network["AssignPublicIp"] != "DISABLED" {
		t.Errorf("tasks: %v", network)
	}
	files := container(t, tmpl)["Ulimits"].([]any)[0].(object)
	if most := tmpl.section("Parameters")["ConnectionsPerTask"].(object)["MaxValue"].(int); files["SoftLimit"].(int) < most+most/4 {
		t.Errorf("a task may have %d connections and %v files", most, files["SoftLimit"])
	}
	for size, v := range tmpl.section("Mappings")["TaskSizes"].(object) {
		// Of the pairs that Fargate offers, each size is one that has twice as much memory as CPU.
		cpu, err := strconv.Atoi(fmt.Sprint(v.(object)["Cpu"]))
		memory, err2 := strconv.Atoi(fmt.Sprint(v.(object)["Memory"]))
		if err != nil || err2 != nil || memory != 2*cpu || !slices.Contains([]int{256, 512, 1024, 2048}, cpu) {
			t.Errorf("%s: Fargate has no task of %v", size, v)
		}
	}
}
