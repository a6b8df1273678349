package check

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const k8s = "../k8s"

// overlays are what can be applied.
var overlays = []string{"overlays/dev", "overlays/prod", "overlays/prod-metrics"}

// object is one object of a build.
type object struct {
	Kind, Name, Namespace string
	YAML                  []byte
}

func (o object) String() string { return o.Kind + "/" + o.Name }

// build is `kubectl kustomize` of a directory beneath deploy/k8s.
func build(t *testing.T, dir string) []object {
	t.Helper()
	out, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(k8s, dir))
	if err != nil {
		t.Fatalf("kustomize build %s: %v", dir, err)
	}
	var objects []object
	for _, r := range out.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object{Kind: r.GetKind(), Name: r.GetName(), Namespace: r.GetNamespace(), YAML: text})
	}
	if len(objects) == 0 {
		t.Fatalf("%s builds to nothing", dir)
	}
	return objects
}

// into decodes strictly.
func into[T any](t *testing.T, o object) T {
	t.Helper()
	var v T
	if err := yaml.UnmarshalStrict(o.YAML, &v); err != nil {
		t.Fatalf("%s: %v", o, err)
	}
	return v
}

// workload is what runs pods.
type workload struct {
	object
	replicas *int32
	labels   map[string]string // that select its pods
	pod      corev1.PodTemplateSpec
}

func workloads(t *testing.T, objects []object) []workload {
	t.Helper()
	var out []workload
	for _, o := range objects {
		switch o.Kind {
		case "Deployment":
			d := into[appsv1.Deployment](t, o)
			out = append(out, workload{o, d.Spec.Replicas, d.Spec.Selector.MatchLabels, d.Spec.Template})
		case "StatefulSet":
			s := into[appsv1.StatefulSet](t, o)
			out = append(out, workload{o, s.Spec.Replicas, s.Spec.Selector.MatchLabels, s.Spec.Template})
		case "Job":
			j := into[batchv1.Job](t, o)
			out = append(out, workload{o, nil, nil, j.Spec.Template})
		}
	}
	return out
}

func TestManifestsFitTheSchemas(t *testing.T) {
	v, err := validator.New([]string{schemaLocation(schemaDir(t))}, validator.Opts{Strict: true, KubernetesVersion: "1.37.2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, overlay := range overlays {
		for _, o := range build(t, overlay) {
			for _, r := range v.Validate(o.String(), io.NopCloser(bytes.NewReader(o.YAML))) {
				if r.Status != validator.Valid {
					t.Errorf("%s: %s: %v", overlay, o, r.Err)
				}
			}
		}
	}
	// The validator must be able to say no.
	for name, text := range map[string]string{
		"unknown name":        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\nautomountToken: false\n",
		"unknown nested name": "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec: {maxUnavailable: 1, selektor: {}}\n",
		"wrong type":          "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {scaleTargetRef: {name: x}, minReplicaCount: one, triggers: []}\n",
		"required":            "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nmetadata: {name: x}\nspec: {podMetricsEndpoints: []}\n",
	} {
		for _, r := range v.Validate(name, io.NopCloser(strings.NewReader(text))) {
			if r.Status != validator.Invalid {
				t.Errorf("%s is found valid: %v", name, r.Err)
			}
		}
	}
}

// The namespaces ask for "restricted", so the API server would refuse any other pod.
func TestPodsAreRestricted(t *testing.T) {
	restricted, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, overlay := range overlays {
		for _, w := range workloads(t, build(t, overlay)) {
			for _, r := range restricted.EvaluatePod(level, &w.pod.ObjectMeta, &w.pod.Spec) {
				if !r.Allowed {
					t.Errorf("%s: %s: %s: %s", overlay, w, r.ForbiddenReason, r.ForbiddenDetail)
				}
			}
		}
	}
	naked := &corev1.PodSpec{Containers: []corev1.Container{{Name: "x"}}}
	if r := policy.AggregateCheckResults(restricted.EvaluatePod(level, &metav1.ObjectMeta{}, naked)); r.Allowed {
		t.Error("a pod without any security context is found restricted")
	}
}

// What no schema says: hardening and life of each pod.
func TestPodsAreHardened(t *testing.T) {
	for _, overlay := range overlays {
		objects := build(t, overlay)
		for _, w := range workloads(t, objects) {
			p := w.pod.Spec
			say := func(ok bool, format string, args ...any) {
				if !ok {
					t.Errorf("%s: %s: %s", overlay, w, fmt.Sprintf(format, args...))
				}
			}
			say(p.AutomountServiceAccountToken != nil && !*p.AutomountServiceAccountToken, "mounts a token")
			say(p.ServiceAccountName != "" && slices.ContainsFunc(objects, func(o object) bool {
				if o.Kind != "ServiceAccount" || o.Name != p.ServiceAccountName {
					return false
				}
				sa := into[corev1.ServiceAccount](t, o)
				return sa.AutomountServiceAccountToken != nil && !*sa.AutomountServiceAccountToken
			}), "has no service account of its own without a token")
			for _, c := range append(slices.Clone(p.InitContainers), p.Containers...) {
				s := c.SecurityContext
				say(s != nil && s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem, "%s may write its root", c.Name)
				say(!c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero() && !c.Resources.Limits.Memory().IsZero(), "%s has no requests or no memory limit", c.Name)
				for _, e := range c.Env {
					say(!secretish(e.Name) || e.Value == "" || strings.HasPrefix(e.Value, "/"), "%s: %s is a secret in the environment", c.Name, e.Name)
					say(e.ValueFrom == nil || e.ValueFrom.SecretKeyRef == nil, "%s: %s: secrets are files", c.Name, e.Name)
				}
				for _, e := range c.EnvFrom {
					say(e.SecretRef == nil, "%s: secrets are files", c.Name)
				}
			}
			for _, v := range p.Volumes {
				say(v.HostPath == nil, "mounts the host's %s", v.Name)
				say(v.EmptyDir == nil || v.EmptyDir.SizeLimit != nil, "volume %s has no bound", v.Name)
			}
			if w.Kind == "Job" {
				continue
			}
			c := p.Containers[0]
			say(c.LivenessProbe != nil && c.LivenessProbe.HTTPGet.Path == "/healthz", "liveness tests something shared, or nothing")
			say(c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet.Path == "/readyz", "has no readiness probe")
			say(c.StartupProbe != nil, "has no startup probe")
			say(len(p.TopologySpreadConstraints) > 0, "is not spread")
			say(softLimit(t, c) >= c.Resources.Limits.Memory().Value()*3/4 && softLimit(t, c) <= c.Resources.Limits.Memory().Value()*9/10, "GOMEMLIMIT %d is not three quarters to nine tenths of the limit %d", softLimit(t, c), c.Resources.Limits.Memory().Value())
			say(c.Resources.Requests.Memory().Cmp(*c.Resources.Limits.Memory()) <= 0, "asks for more memory than its limit")
			say(slices.ContainsFunc(objects, func(o object) bool { return o.Kind == "PodDisruptionBudget" && o.Name == w.Name }), "has no disruption budget")
		}
	}
}

// softLimit is a container's GOMEMLIMIT in bytes, 0 without one.
func softLimit(t *testing.T, c corev1.Container) int64 {
	t.Helper()
	for _, e := range c.Env {
		if e.Name == "GOMEMLIMIT" {
			q, err := resource.ParseQuantity(strings.TrimSuffix(e.Value, "B")) // MiB to Mi
			if err != nil {
				t.Fatalf("%s: GOMEMLIMIT %q: %v", c.Name, e.Value, err)
			}
			return q.Value()
		}
	}
	return 0
}

func secretish(name string) bool {
	for _, part := range []string{"SECRET", "PASSWORD", "DSN", "ACCESS_CODE", "CREDS", "TOKEN"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// Every Secret that is mounted stands, as an example, in the page for operators.
func TestSecretsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads(t, build(t, "overlays/prod")) {
		for _, v := range w.pod.Spec.Volumes {
			if v.Secret != nil && !bytes.Contains(page, []byte(v.Secret.SecretName)) {
				t.Errorf("%s mounts Secret %s, of which docs/operate.md says nothing", w, v.Secret.SecretName)
			}
		}
	}
}

func unmarshal(o object, v any) error { return yaml.Unmarshal(o.YAML, v) }
