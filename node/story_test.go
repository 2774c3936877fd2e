package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"orrery.example.org/host"
)

// execIn runs a program in a Pod, as the server would.
func (c *cluster) execIn(node, pod string, argv ...string) (string, error) {
	var out buffer
	err := c.nodes[node].agent.ExecInContainer(c.ctx, "default/"+pod, "", "main", argv, nil, &out, &out, false, nil, 0)
	return out.String(), err
}

func (c *cluster) mustExec(node, pod string, argv ...string) string {
	c.t.Helper()
	out, err := c.execIn(node, pod, argv...)
	if err != nil {
		c.t.Fatalf("exec %v in %s: %v: %s", argv, pod, err, out)
	}
	return out
}

// serveAddress answers requests at a place with the client's address.
func (c *cluster) serveAddress(place *host.Host, address string) string {
	c.t.Helper()
	ln, err := place.Listen(c.ctx, "tcp", address)
	must(c.t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr)
		_, _ = io.WriteString(w, client)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(ln) }()
	c.t.Cleanup(func() { _ = server.Close(); <-ended })
	return address
}

type buffer struct{ strings.Builder }

func (*buffer) Close() error { return nil }

func TestStoryPacketsBetweenNodes(t *testing.T) {
	c := startCluster(t, "node1", "node2")
	c.pod("node1", "web1", "nginx")
	c.pod("node2", "web2", "docker.io/library/httpd:2.4")
	c.pod("node1", "client", "busybox")
	web1, web2, client := c.ready("web1"), c.ready("web2"), c.ready("client")
	for _, p := range []struct {
		pod  *corev1.Pod
		cidr string
	}{{web1, "10.244.1.0/24"}, {web2, "10.244.2.0/24"}, {client, "10.244.1.0/24"}} {
		if ip := netip.MustParseAddr(p.pod.Status.PodIP); !netip.MustParsePrefix(p.cidr).Contains(ip) {
			t.Errorf("%s has %s, want one of %s", p.pod.Name, ip, p.cidr)
		}
	}
	// Of the same node and of another one; each sees the client's own address.
	for _, web := range []*corev1.Pod{web1, web2} {
		page := c.mustExec("node1", "client", "curl", "-sS", "--max-time", "5", "http://"+web.Status.PodIP)
		want := fmt.Sprintf("Pod %s (%s) on %s answers %s.", web.Name, web.Status.PodIP, web.Spec.NodeName, client.Status.PodIP)
		if !strings.Contains(page, want) {
			t.Errorf("page of %s: %q, want %q in it", web.Name, page, want)
		}
	}
	// The node itself.
	c.run(c.nodes["node1"].host, "curl", "-sS", "--max-time", "5", "http://"+web1.Status.PodIP)
	// A machine that has no route to Pods sees their node.
	control := c.serveAddress(c.control, "172.30.0.2:80")
	if seen := c.mustExec("node1", "client", "curl", "-sS", "--max-time", "5", "http://"+control); seen != "172.30.0.11" {
		t.Errorf("the control plane sees %q, want the node's address", seen)
	}
}

func TestStoryAServiceOnTheSameNode(t *testing.T) {
	for _, brNetfilter := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+brNetfilter, func(t *testing.T) {
			c := startCluster(t, "node1")
			node := c.nodes["node1"]
			err := node.host.Do(func() error { return writeFile("/proc/sys/net/bridge/bridge-nf-call-iptables", brNetfilter) })
			if err != nil {
				if brNetfilter == "1" {
					t.Skipf("no br_netfilter: %v", err)
				}
			}
			c.pod("node1", "web", "nginx")
			c.pod("node1", "client", "busybox")
			web, client := c.ready("web"), c.ready("client")
			// What kube-proxy would write for 10.96.0.80:80.
			iptables := func(rule string) {
				c.run(node.host, append([]string{"iptables", "-w", "-t", "nat"}, strings.Fields(rule)...)...)
			}
			iptables("-A PREROUTING -d 10.96.0.80 -p tcp --dport 80 -j DNAT --to-destination " + web.Status.PodIP)
			iptables("-A POSTROUTING -s " + web.Status.PodIP + " -d " + web.Status.PodIP + " -j MASQUERADE")
			page := c.mustExec("node1", "client", "curl", "-sS", "--max-time", "5", "http://10.96.0.80")
			if !strings.Contains(page, "answers "+client.Status.PodIP) {
				t.Errorf("through the Service: %q, want the client's own address", page)
			}
			// Hairpin: the Pod reaches itself, masqueraded as its gateway.
			page = c.mustExec("node1", "web", "curl", "-sS", "--max-time", "5", "http://10.96.0.80")
			if !strings.Contains(page, "answers 10.244.1.1") {
				t.Errorf("through its own Service: %q, want the gateway's address", page)
			}
		})
	}
}

func TestStoryDeletionLeavesNothing(t *testing.T) {
	c := startCluster(t, "node1")
	node := c.nodes["node1"]
	c.pod("node1", "web", "nginx")
	c.pod("node1", "sleeper", "busybox", command("sh", "-c", "sleep 1000 & sleep 1000"))
	first := c.ready("web")
	c.ready("sleeper")
	if _, err := c.execIn("node1", "sleeper", "sh", "-c", "setsid sleep 2000 >/dev/null 2>&1 &"); err != nil {
		t.Fatal(err)
	}
	if got := node.veths(t); len(got) != 2 {
		t.Fatalf("links %v, want two", got)
	}
	c.delete("web", 30)
	c.delete("sleeper", 0)
	c.awaitGone("web")
	c.awaitGone("sleeper")
	c.eventually("no links", func() error {
		if got := node.veths(t); len(got) != 0 {
			return fmt.Errorf("links %v", got)
		}
		return nil
	})
	c.eventually("no processes", func() error { return noProcess("sleep 1000", "sleep 2000") })
	c.eventually("no directories of Pods", func() error {
		dir, err := readDirNames(node.agent.podsDir())
		if err == nil && len(dir) != 0 {
			err = fmt.Errorf("directories %v", dir)
		}
		return err
	})
	c.pod("node1", "web-again", "nginx")
	if again := c.ready("web-again"); again.Status.PodIP == first.Status.PodIP {
		t.Errorf("a new Pod got the address of the one before, %s", again.Status.PodIP)
	}
	node.stop()
	if got := node.veths(t); len(got) != 0 {
		t.Errorf("links after the agent's end: %v", got)
	}
	links, err := node.host.Links()
	must(t, err)
	if _, err := links.LinkByName("cbr0"); err == nil {
		t.Error("the bridge is there after the agent's end")
	}
	if rules := c.run(node.host, "iptables-save", "-t", "nat"); strings.Contains(rules, "CNI-MASQUERADE") {
		t.Errorf("rules after the agent's end:\n%s", rules)
	}
}

func TestStoryADeletedNodeComesBack(t *testing.T) {
	c := startCluster(t, "node1")
	must(t, c.api.CoreV1().Nodes().Delete(c.ctx, "node1", metav1.DeleteOptions{}))
	c.eventually("registered again", func() error {
		node, err := c.api.CoreV1().Nodes().Get(c.ctx, "node1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && node.Spec.PodCIDR == "10.244.1.0/24" {
				return nil
			}
		}
		return fmt.Errorf("podCIDR %q, conditions %v", node.Spec.PodCIDR, node.Status.Conditions)
	})
	c.pod("node1", "web", "nginx")
	ip := c.ready("web").Status.PodIP
	c.run(c.nodes["node1"].host, "curl", "-sS", "--max-time", "5", "http://"+ip)
}

func TestStoryRestartKeepsAddresses(t *testing.T) {
	c := startCluster(t, "node1")
	node := c.nodes["node1"]
	c.pod("node1", "web", "nginx")
	before := c.ready("web")
	node.stop()
	// As after a crash: a link that the last agent did not remove.
	links, err := node.host.Links()
	must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "cbr0"
	must(t, links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	bridge, err := links.LinkByName("cbr0")
	must(t, err)
	attrs.Name, attrs.MasterIndex = "vethdeadbeef", bridge.Attrs().Index
	must(t, links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "left"}))

	c.startAgent(node)
	after := c.await("web", "restarted", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].Ready && s[0].RestartCount == 1
	})
	if before.Status.PodIP != after.Status.PodIP {
		t.Errorf("address %s became %s", before.Status.PodIP, after.Status.PodIP)
	}
	if got := node.veths(t); len(got) != 1 || got[0] == "vethdeadbeef" {
		t.Errorf("links %v, want that of the one Pod", got)
	}
	c.pod("node1", "next", "pause")
	if next := c.ready("next"); next.Status.PodIP == after.Status.PodIP {
		t.Errorf("address %s was handed out twice", next.Status.PodIP)
	}
}

func TestStoryWhatAPodSees(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "client", "busybox", func(s *corev1.PodSpec) {
		s.Hostname, s.Subdomain = "me", "peers"
		s.Containers[0].Env = []corev1.EnvVar{
			{Name: "A", Value: "1"}, {Name: "B", Value: "$(A)2"},
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		}
	})
	ip := c.ready("client").Status.PodIP
	for _, row := range []struct {
		argv []string
		want string
	}{
		{[]string{"cat", "/etc/resolv.conf"}, "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"},
		{[]string{"tail", "-1", "/etc/hosts"}, ip + "\tme.peers.default.svc.cluster.local\tme\n"},
		{[]string{"cat", "/etc/hostname"}, "me\n"},
		{[]string{"uname", "-n"}, "me\n"},
		{[]string{"sh", "-c", "echo $A $B $IP"}, "1 12 " + ip + "\n"},
		{[]string{"ip", "-o", "-4", "addr", "show", "dev", "lo"}, "127.0.0.1/8"},
		{[]string{"ip", "-o", "-4", "addr", "show", "dev", "eth0"}, ip + "/24"},
		{[]string{"ip", "route"}, "default via 10.244.1.1 dev eth0"},
	} {
		if got := c.mustExec("node1", "client", row.argv...); !strings.Contains(got, row.want) {
			t.Errorf("%v: %q, want %q", row.argv, got, row.want)
		}
	}
}

func TestStoryImages(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "typo", "ngimx:1.27")
	pod := c.await("typo", "backing off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ImagePullBackOff"
	})
	if message := pod.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(message, "available: agnhost, alpine, busybox") {
		t.Errorf("message %q does not say what is available", message)
	}
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s, want Pending", pod.Status.Phase)
	}
	// Mended by a new image, without waiting for the back-off to end.
	pod.Spec.Containers[0].Image = "nginx:1.27"
	_, err := c.api.CoreV1().Pods("default").Update(c.ctx, pod, metav1.UpdateOptions{})
	must(t, err)
	c.ready("typo")
	c.eventually("events", func() error {
		got := strings.Join(events(t, c.api, "typo"), " ")
		for _, want := range []string{"Failed", "BackOff", "Pulled", "Created", "Started"} {
			if !strings.Contains(got, want) {
				return fmt.Errorf("events %s, want %s", got, want)
			}
		}
		return nil
	})
}

func TestStoryPrograms(t *testing.T) {
	c := startCluster(t, "node1")
	never := func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever }
	c.pod("node1", "job", "busybox", args("sh", "-c", "echo out; echo err >&2; exit 3"), never)
	c.pod("node1", "well", "alpine", args("true"), never)
	c.pod("node1", "crash", "busybox", command("sh", "-c", "exit 1"))
	c.pod("node1", "missing", "busybox", command("no-such-program"), never)
	c.pod("node1", "inits", "nginx", func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "first", Image: "busybox", Command: []string{"true"}}}
	})

	job := c.await("job", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if s := job.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 3 || s.Reason != "Error" {
		t.Errorf("job ended as %+v", s)
	}
	log, err := c.log("node1", "job", &corev1.PodLogOptions{})
	if err != nil || !strings.Contains(log, "out\n") || !strings.Contains(log, "err\n") {
		t.Errorf("log %q, %v", log, err)
	}
	c.await("well", "succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	c.await("crash", "looping", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff" &&
			s[0].LastTerminationState.Terminated.ExitCode == 1
	})
	missing := c.await("missing", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if s := missing.Status.ContainerStatuses[0].State.Terminated; s.Reason != "StartError" || s.ExitCode != 128 || !strings.Contains(s.Message, "not found in $PATH") {
		t.Errorf("missing program ended as %+v", s)
	}
	inits := c.ready("inits")
	if s := inits.Status.InitContainerStatuses; len(s) != 1 || s[0].State.Terminated == nil || s[0].State.Terminated.Reason != "Completed" {
		t.Errorf("init containers %+v", s)
	}
}

func TestStoryGrace(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "polite", "busybox", command("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"))
	c.ready("polite")
	c.eventually("trap set", func() error { return c.logHas("node1", "polite", "up\n") })
	gone := make(chan string, 1)
	log, err := c.nodes["node1"].agent.OpenLog("default/polite", "", "main", false)
	must(t, err)
	go func() {
		var out buffer
		_ = log.Read(c.ctx, &corev1.PodLogOptions{Follow: true}, now(), &out)
		gone <- out.String()
	}()
	c.delete("polite", 30)
	c.awaitGone("polite")
	if got := <-gone; got != "up\nbye\n" {
		t.Errorf("log until the end: %q", got)
	}
}

func TestStoryReadiness(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "web", "nginx", func(s *corev1.PodSpec) {
		s.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 1, ProbeHandler: corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{"test", "-e", "/tmp/go"}},
		}}
		s.Containers[0].LivenessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)},
		}}
	})
	unready := c.await("web", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if condition(unready, corev1.PodReady) != corev1.ConditionFalse {
		t.Error("ready before its probe succeeded")
	}
	c.mustExec("node1", "web", "touch", "/tmp/go")
	c.ready("web")
	c.mustExec("node1", "web", "rm", "/tmp/go")
	c.await("web", "not ready", func(p *corev1.Pod) bool { return condition(p, corev1.PodReady) == corev1.ConditionFalse })
}

func TestStoryHostNetwork(t *testing.T) {
	c := startCluster(t, "node1")
	c.pod("node1", "agent", "whoami", func(s *corev1.PodSpec) { s.HostNetwork = true })
	pod := c.ready("agent")
	if pod.Status.PodIP != "172.30.0.11" {
		t.Errorf("podIP %s, want the node's", pod.Status.PodIP)
	}
	if page := c.run(c.control, "curl", "-sS", "--max-time", "5", "http://172.30.0.11"); !strings.Contains(page, "RemoteAddr: 172.30.0.2:") {
		t.Errorf("page %q", page)
	}
	c.delete("agent", 0)
	c.awaitGone("agent")
}

func TestStoryMirrorPods(t *testing.T) {
	c := startCluster(t, "node1")
	mirror := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "etcd", Namespace: "default", UID: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "main", Image: "etcd"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	_, err := c.api.CoreV1().Pods("default").Create(c.ctx, mirror, metav1.CreateOptions{})
	must(t, err)
	c.pod("node1", "after", "pause")
	c.ready("after") // by now the agent has seen both
	got, err := c.get("etcd")
	must(t, err)
	if len(got.Status.ContainerStatuses) != 0 || len(got.Status.Conditions) != 0 {
		t.Errorf("the agent wrote a mirror Pod's status: %+v", got.Status)
	}
	if links := c.nodes["node1"].veths(t); len(links) != 1 {
		t.Errorf("links %v, want one", links)
	}
}

func (c *cluster) log(node, pod string, o *corev1.PodLogOptions) (string, error) {
	log, err := c.nodes[node].agent.OpenLog("default/"+pod, "", "main", o.Previous)
	if err != nil {
		return "", err
	}
	var out buffer
	err = log.Read(context.Background(), o, now(), &out)
	return out.String(), err
}

func (c *cluster) logHas(node, pod, text string) error {
	log, err := c.log(node, pod, &corev1.PodLogOptions{})
	if err == nil && !strings.Contains(log, text) {
		err = fmt.Errorf("log is %q", log)
	}
	return err
}

func command(argv ...string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Containers[0].Command = argv }
}

func args(argv ...string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Containers[0].Args = argv }
}

func TestAdmit(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxPods = 2
	n := newNode(cfg, nil)
	add := func(name string, phase corev1.PodPhase) *pod {
		object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Status: corev1.PodStatus{Phase: phase}}
		n.pods[object.UID] = newPod(n, object, nil, nil)
		return n.pods[object.UID]
	}
	add("a", corev1.PodRunning)
	add("done", corev1.PodSucceeded)
	if why := n.admit(add("b", "")); why != nil {
		t.Errorf("the second of two was rejected: %s", why.Message)
	}
	why := n.admit(add("c", ""))
	if why == nil || why.Reason != "OutOfpods" ||
		why.Message != "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2" {
		t.Errorf("the third of two: %+v", why)
	}
}
