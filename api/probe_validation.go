package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateProbesAndHooks(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if l := c.Lifecycle; l != nil {
		at := at.Child("lifecycle")
		errs = append(errs, validateHook(l.PostStart, at.Child("postStart"))...)
		errs = append(errs, validateHook(l.PreStop, at.Child("preStop"))...)
	}
	errs = append(errs, validateProbe(c.LivenessProbe, at.Child("livenessProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, at.Child("readinessProbe"))...)
	errs = append(errs, validateProbe(c.StartupProbe, at.Child("startupProbe"))...)
	errs = append(errs, onlyOneSuccess(c.LivenessProbe, at.Child("livenessProbe"))...)
	errs = append(errs, onlyOneSuccess(c.StartupProbe, at.Child("startupProbe"))...)
	if p := c.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"),
			*p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return errs
}

// onlyOneSuccess: one success proves that a container lives; only readiness may want more.
func onlyOneSuccess(p *corev1.Probe, at *field.Path) field.ErrorList {
	if p == nil || p.SuccessThreshold == 1 {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1")}
}

func forbidProbesAndHooks(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return errs
}

// handler is what probes and hooks do. An absent one is nil.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func validateProbe(p *corev1.Probe, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := handler{exec: p.Exec, http: p.HTTPGet, tcp: p.TCPSocket, grpc: p.GRPC}.validate(at)
	errs = append(errs, nonNegative(p.InitialDelaySeconds, at.Child("initialDelaySeconds"))...)
	errs = append(errs, nonNegative(p.TimeoutSeconds, at.Child("timeoutSeconds"))...)
	errs = append(errs, nonNegative(p.PeriodSeconds, at.Child("periodSeconds"))...)
	errs = append(errs, nonNegative(p.SuccessThreshold, at.Child("successThreshold"))...)
	errs = append(errs, nonNegative(p.FailureThreshold, at.Child("failureThreshold"))...)
	if g := p.TerminationGracePeriodSeconds; g != nil && *g <= 0 {
		errs = append(errs, field.Invalid(at.Child("terminationGracePeriodSeconds"), *g, "must be greater than 0"))
	}
	return errs
}

func validateHook(h *corev1.LifecycleHandler, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return handler{exec: h.Exec, http: h.HTTPGet, tcp: h.TCPSocket, sleep: h.Sleep}.validate(at)
}

func (h handler) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	count := 0
	use := func(name string, set bool, rule func(*field.Path) field.ErrorList) {
		if !set {
			return
		}
		if count++; count > 1 {
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, rule(at.Child(name))...)
	}
	use("exec", h.exec != nil, h.validateExec)
	use("httpGet", h.http != nil, h.validateHTTP)
	use("tcpSocket", h.tcp != nil, func(at *field.Path) field.ErrorList { return portNumberOrName(h.tcp.Port, at.Child("port")) })
	use("grpc", h.grpc != nil, func(at *field.Path) field.ErrorList { return portNumber(h.grpc.Port, at.Child("port")) })
	use("sleep", h.sleep != nil, func(at *field.Path) field.ErrorList { return nonNegative(h.sleep.Seconds, at.Child("seconds")) })
	if count == 0 {
		errs = append(errs, field.Required(at, "must specify a handler type"))
	}
	return errs
}

func (h handler) validateExec(at *field.Path) field.ErrorList {
	if len(h.exec.Command) == 0 {
		return field.ErrorList{field.Required(at.Child("command"), "")}
	}
	return nil
}

func (h handler) validateHTTP(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.http.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	}
	errs = append(errs, portNumberOrName(h.http.Port, at.Child("port"))...)
	if s := h.http.Scheme; s != corev1.URISchemeHTTP && s != corev1.URISchemeHTTPS {
		errs = append(errs, field.NotSupported(at.Child("scheme"), s, []corev1.URIScheme{corev1.URISchemeHTTP, corev1.URISchemeHTTPS}))
	}
	for _, header := range h.http.HTTPHeaders {
		errs = append(errs, invalid(at.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}
