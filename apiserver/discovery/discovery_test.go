package discovery

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"orrery.example.org/api"
)

func served[L any, Q interface {
	*L
	runtime.Object
}](gv schema.GroupVersion, kind string) api.Version {
	return api.Version{GroupVersionKind: gv.WithKind(kind), NewList: func() runtime.Object { return Q(new(L)) }}
}

// sample has one of everything that discovery must tell apart.
var sample = []*api.Kind{
	{
		Versions: []api.Version{served[corev1.PodList](corev1.SchemeGroupVersion, "Pod")},
		Resource: "pods", Singular: "pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true,
		Status: func(api.Object) any { return nil },
		Subresources: []api.Subresource{
			{Name: "log", Verbs: []string{"get"}},
			{Name: "binding", GVK: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"}},
		},
	},
	{
		Versions: []api.Version{
			served[corev1.EventList](corev1.SchemeGroupVersion, "Event"),
			served[eventsv1.EventList](eventsv1.SchemeGroupVersion, "Event"),
		},
		Resource: "events", Singular: "event", ShortNames: []string{"ev"}, Namespaced: true,
	},
	{
		Versions: []api.Version{served[corev1.NodeList](corev1.SchemeGroupVersion, "Node")},
		Resource: "nodes", Singular: "node",
	},
	{
		Versions: []api.Version{
			served[appsv1.DeploymentList](schema.GroupVersion{Group: "apps", Version: "v1beta1"}, "Deployment"),
			served[appsv1.DeploymentList](appsv1.SchemeGroupVersion, "Deployment"),
		},
		Resource: "deployments", Singular: "deployment", Namespaced: true,
		Scale: &api.Scale{},
	},
	{
		Versions: []api.Version{{GroupVersionKind: authenticationv1.SchemeGroupVersion.WithKind("TokenReview")}},
		Resource: "tokenreviews", Singular: "tokenreview",
	},
}

// legacyAnswer is the server's part: it knows all media types, here only JSON.
func legacyAnswer(w http.ResponseWriter, _ *http.Request, o runtime.Object, _ schema.GroupVersionKind) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o)
}

func serve(t *testing.T, kinds []*api.Kind) *httptest.Server {
	r := mux.NewRouter()
	Register(r, kinds, "10.96.0.1:443", legacyAnswer)
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestLegacyDocuments(t *testing.T) {
	s := serve(t, sample)
	for path, want := range map[string]string{
		"/api": `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"10.96.0.1:443"}]}`,
		"/apis/apps": `{"kind":"APIGroup","apiVersion":"v1","name":"apps",` +
			`"versions":[{"groupVersion":"apps/v1","version":"v1"},{"groupVersion":"apps/v1beta1","version":"v1beta1"}],` +
			`"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}`,
		"/apis/authentication.k8s.io/v1": `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"authentication.k8s.io/v1","resources":[` +
			`{"name":"tokenreviews","singularName":"tokenreview","namespaced":false,"kind":"TokenReview","verbs":["create"]}]}`,
	} {
		for _, slash := range []string{"", "/"} {
			resp, body := get(t, s.URL+path+slash)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s %s", path+slash, resp.Status, resp.Header.Get("Content-Type"))
			}
			if diff := cmp.Diff(want+"\n", body); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path+slash, diff)
			}
		}
	}
	if resp, _ := get(t, s.URL+"/apis/nobody"); resp.StatusCode != 404 {
		t.Errorf("unknown group: %s", resp.Status)
	}
}

func TestResourceRows(t *testing.T) {
	groups := byGroup(sample)
	var got []string
	for _, r := range apiResourceList(groups[0].versions[0]).APIResources {
		got = append(got, r.Name+" "+r.Kind+" "+r.StorageVersionHash)
	}
	want := []string{
		"events Event r2yiGXH7wu8=", // the hashes every Kubernetes cluster shows
		"nodes Node XwShjMxG9Fs=",
		"pods Pod xPOwRZ+Yhw8=",
		"pods/binding Binding ",
		"pods/log Pod ",
		"pods/status Pod ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	var names []string
	for _, g := range groups {
		for _, v := range g.versions {
			names = append(names, v.path())
		}
	}
	wantPaths := []string{"/api/v1", "/apis/apps/v1", "/apis/apps/v1beta1", "/apis/events.k8s.io/v1", "/apis/authentication.k8s.io/v1"}
	if diff := cmp.Diff(wantPaths, names); diff != "" {
		t.Errorf("group versions (-want +got):\n%s", diff)
	}
}

// TestClientsAgree reads both forms with client-go and expects the same answer.
func TestClientsAgree(t *testing.T) {
	for name, kinds := range map[string][]*api.Kind{"sample": sample, "table": api.Table} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, kinds)
			read := func(legacy bool) map[string][]metav1.APIResource {
				client := clientdiscovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: s.URL})
				client.UseLegacyDiscovery = legacy
				_, lists, err := client.ServerGroupsAndResources()
				if err != nil {
					t.Fatal(err)
				}
				byGV := map[string][]metav1.APIResource{}
				for _, l := range lists {
					for _, r := range l.APIResources {
						if r.Group == "" && r.Version == "" { // the aggregated form always names them
							gv, _ := schema.ParseGroupVersion(l.GroupVersion)
							r.Group, r.Version = gv.Group, gv.Version
						}
						r.StorageVersionHash = "" // the aggregated form has none
						r.SingularName = ""       // client-go copies a resource's to its subresources
						byGV[l.GroupVersion] = append(byGV[l.GroupVersion], r)
					}
				}
				return byGV
			}
			legacy, aggregated := read(true), read(false)
			if len(legacy) == 0 {
				t.Fatal("nothing discovered")
			}
			if diff := cmp.Diff(legacy, aggregated); diff != "" {
				t.Errorf("legacy and aggregated differ (-legacy +aggregated):\n%s", diff)
			}
		})
	}
}

func TestScale(t *testing.T) {
	row := apiResourceList(byGroup(sample)[1].versions[0]).APIResources[1]
	want := metav1.APIResource{
		Name: "deployments/scale", Namespaced: true, Group: autoscalingv1.GroupName, Version: "v1", Kind: "Scale",
		Verbs: []string{"get", "patch", "update"},
	}
	if diff := cmp.Diff(want, row); diff != "" {
		t.Errorf("scale (-want +got):\n%s", diff)
	}
}

func TestNegotiation(t *testing.T) {
	const (
		v2      = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
		v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
		proto   = "application/vnd.kubernetes.protobuf"
	)
	s := serve(t, sample)
	for _, tt := range []struct{ accept, want string }{
		{"", "application/json"},
		{"*/*", "application/json"},
		{v2 + "," + v2beta1 + ",application/json", v2},
		{v2 + ";profile=nopeer," + v2 + ",application/json", v2},
		{v2beta1 + ",application/json", v2beta1},
		{"application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json", "application/json"},
		{proto + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", proto + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
		{"application/json;q=0.5," + v2 + ";q=0.4", "application/json"},
	} {
		if resp, _ := get(t, s.URL+"/apis", "Accept", tt.accept); resp.Header.Get("Content-Type") != tt.want {
			t.Errorf("Accept %s: got %s, want %s", tt.accept, resp.Header.Get("Content-Type"), tt.want)
		}
	}
}

const wantAggregated = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

func TestETag(t *testing.T) {
	s := serve(t, sample)
	resp, _ := get(t, s.URL+"/apis", "Accept", "application/json"+wantAggregated)
	etag := resp.Header.Get("ETag")
	if resp, body := get(t, s.URL+"/apis", "Accept", "application/json"+wantAggregated, "If-None-Match", etag); resp.StatusCode != 304 || body != "" {
		t.Errorf("known etag: %s, %d bytes", resp.Status, len(body))
	}
	if resp, _ := get(t, s.URL+"/api", "Accept", "application/json"+wantAggregated, "If-None-Match", etag); resp.StatusCode != 200 {
		t.Errorf("another document's etag: %s", resp.Status)
	}
}

func TestProtobuf(t *testing.T) {
	s := serve(t, sample)
	_, body := get(t, s.URL+"/apis", "Accept", runtime.ContentTypeProtobuf+wantAggregated)
	known := runtime.NewScheme()
	if err := apidiscoveryv2.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	obj, _, err := serializer.NewCodecFactory(known).UniversalDeserializer().Decode([]byte(body), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := obj.(*apidiscoveryv2.APIGroupDiscoveryList)
	if !slices.ContainsFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == "apps" }) {
		t.Errorf("decoded %v", list)
	}
}
