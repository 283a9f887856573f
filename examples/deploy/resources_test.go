package deploy

// resourceType is what is known of a type of AWS resource: enough to find a slip of the pen.
type resourceType struct {
	required   []string
	optional   []string // that the templates may use; extend it as they grow
	attributes []string // that Fn::GetAtt may ask for
	stateful   bool     // it needs a word on what becomes of it with the stack
}

var resourceTypes = map[string]resourceType{
	"AWS::ApplicationAutoScaling::ScalableTarget": {
		required: []string{"MaxCapacity", "MinCapacity", "ResourceId", "ScalableDimension", "ServiceNamespace"},
	},
	"AWS::ApplicationAutoScaling::ScalingPolicy": {
		required: []string{"PolicyName", "PolicyType"},
		optional: []string{"ScalingTargetId", "TargetTrackingScalingPolicyConfiguration"},
	},
	"AWS::CloudFormation::WaitConditionHandle": {},
	"AWS::CloudWatch::Alarm": {
		required: []string{"ComparisonOperator", "EvaluationPeriods"},
		optional: []string{"AlarmActions", "AlarmDescription", "Dimensions", "MetricName", "Namespace", "OKActions", "Period",
			"Statistic", "Threshold", "TreatMissingData"},
	},
	"AWS::DynamoDB::Table": {
		required: []string{"KeySchema"},
		optional: []string{"AttributeDefinitions", "BillingMode", "DeletionProtectionEnabled", "PointInTimeRecoverySpecification",
			"TimeToLiveSpecification"},
		attributes: []string{"Arn", "StreamArn"},
		stateful:   true,
	},
	"AWS::EC2::EIP":             {optional: []string{"Domain"}, attributes: []string{"AllocationId", "PublicIp"}},
	"AWS::EC2::InternetGateway": {},
	"AWS::EC2::NatGateway":      {optional: []string{"AllocationId", "SubnetId"}},
	"AWS::EC2::Route": {
		required: []string{"RouteTableId"},
		optional: []string{"DestinationCidrBlock", "GatewayId", "NatGatewayId"},
	},
	"AWS::EC2::RouteTable": {required: []string{"VpcId"}},
	"AWS::EC2::SecurityGroup": {
		required:   []string{"GroupDescription"},
		optional:   []string{"SecurityGroupIngress", "VpcId"},
		attributes: []string{"GroupId"},
	},
	"AWS::EC2::SecurityGroupIngress": {
		required: []string{"IpProtocol"},
		optional: []string{"Description", "FromPort", "GroupId", "SourceSecurityGroupId", "ToPort"},
	},
	"AWS::EC2::Subnet": {
		required: []string{"VpcId"},
		optional: []string{"AvailabilityZone", "CidrBlock", "Tags"},
	},
	"AWS::EC2::SubnetRouteTableAssociation": {required: []string{"RouteTableId", "SubnetId"}},
	"AWS::EC2::VPC": {
		optional: []string{"CidrBlock", "EnableDnsHostnames", "EnableDnsSupport", "Tags"},
	},
	"AWS::EC2::VPCEndpoint": {
		required: []string{"ServiceName", "VpcId"},
		optional: []string{"PrivateDnsEnabled", "RouteTableIds", "SecurityGroupIds", "SubnetIds", "VpcEndpointType"},
	},
	"AWS::EC2::VPCGatewayAttachment": {required: []string{"VpcId"}, optional: []string{"InternetGatewayId"}},
	"AWS::ECR::Repository": {
		optional:   []string{"ImageScanningConfiguration", "ImageTagMutability", "LifecyclePolicy", "RepositoryName"},
		attributes: []string{"Arn", "RepositoryUri"},
		stateful:   true,
	},
	"AWS::ECS::Cluster": {optional: []string{"ClusterSettings"}, attributes: []string{"Arn"}},
	"AWS::ECS::Service": {
		required: []string{"Cluster", "TaskDefinition"}, // optional for AWS, but there is no sense in leaving them out
		optional: []string{"DeploymentConfiguration", "EnableECSManagedTags", "HealthCheckGracePeriodSeconds", "LaunchType",
			"LoadBalancers", "NetworkConfiguration", "PropagateTags"},
		attributes: []string{"Name", "ServiceArn"},
	},
	"AWS::ECS::TaskDefinition": {
		required: []string{"ContainerDefinitions"},
		optional: []string{"Cpu", "ExecutionRoleArn", "Family", "Memory", "NetworkMode", "RequiresCompatibilities", "RuntimePlatform",
			"TaskRoleArn", "Volumes"},
	},
	"AWS::ElastiCache::ParameterGroup": {
		required: []string{"CacheParameterGroupFamily", "Description"},
		optional: []string{"Properties"},
	},
	"AWS::ElastiCache::ReplicationGroup": {
		required: []string{"ReplicationGroupDescription"},
		optional: []string{"AtRestEncryptionEnabled", "AuthToken", "AutomaticFailoverEnabled", "CacheNodeType", "CacheParameterGroupName",
			"CacheSubnetGroupName", "Engine", "EngineVersion", "MultiAZEnabled", "NumNodeGroups", "Port", "ReplicasPerNodeGroup",
			"SecurityGroupIds", "SnapshotRetentionLimit", "TransitEncryptionEnabled"},
		attributes: []string{"PrimaryEndPoint.Address", "PrimaryEndPoint.Port", "ReaderEndPoint.Address", "ReaderEndPoint.Port"},
		stateful:   true,
	},
	"AWS::ElastiCache::SubnetGroup": {required: []string{"Description", "SubnetIds"}},
	"AWS::ElasticLoadBalancingV2::Listener": {
		required: []string{"DefaultActions", "LoadBalancerArn"},
		optional: []string{"Certificates", "Port", "Protocol", "SslPolicy"},
	},
	"AWS::ElasticLoadBalancingV2::LoadBalancer": {
		optional:   []string{"LoadBalancerAttributes", "Scheme", "SecurityGroups", "Subnets", "Type"},
		attributes: []string{"CanonicalHostedZoneID", "DNSName", "LoadBalancerFullName"},
	},
	"AWS::ElasticLoadBalancingV2::TargetGroup": {
		optional: []string{"HealthCheckIntervalSeconds", "HealthCheckPath", "HealthCheckTimeoutSeconds", "HealthyThresholdCount",
			"Matcher", "Port", "Protocol", "TargetGroupAttributes", "TargetType", "UnhealthyThresholdCount", "VpcId"},
		attributes: []string{"TargetGroupFullName", "TargetGroupName"},
	},
	"AWS::IAM::Role": {
		required:   []string{"AssumeRolePolicyDocument"},
		optional:   []string{"Policies"},
		attributes: []string{"Arn", "RoleId"},
	},
	"AWS::Logs::LogGroup": {
		optional:   []string{"LogGroupName", "RetentionInDays"},
		attributes: []string{"Arn"},
		stateful:   true,
	},
	"AWS::Logs::MetricFilter": {required: []string{"FilterPattern", "LogGroupName", "MetricTransformations"}},
	"AWS::Route53::RecordSet": {
		required: []string{"Name", "Type"},
		optional: []string{"AliasTarget", "HostedZoneId"},
	},
	"AWS::SNS::Topic": {optional: []string{"Subscription"}, attributes: []string{"TopicArn", "TopicName"}},
	"AWS::SecretsManager::Secret": {
		optional: []string{"Description", "GenerateSecretString", "SecretString"},
	},
}

// pseudoParameters are what AWS gives to every template.
var pseudoParameters = map[string]string{
	"AWS::AccountId": "123456789012", "AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::StackName": "twine",
	"AWS::URLSuffix": "amazonaws.com", "AWS::NoValue": "", "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/twine/1",
}
