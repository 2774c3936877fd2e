package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	path := mux.Vars(r)
	options, err := logOptions(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	log, err := s.backend.OpenLog(path["namespace"]+"/"+path["pod"], "", path["container"], options.Previous)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	if options.Follow {
		w.(http.Flusher).Flush() // the client learns at once that it is being served
	}
	if err := log.Read(r.Context(), options, time.Now(), w); err != nil {
		s.cfg.Log.Debug("serving a log", "container", path["container"], "err", err) // the client left, or the file went
	}
}

// logOptions reads the query, whose parameters are the fields of PodLogOptions.
func logOptions(query url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{}
	for name, field := range map[string]*bool{"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps} {
		text := query.Get(name)
		if !query.Has(name) {
			continue
		}
		value, err := strconv.ParseBool(text)
		if err != nil && text != "" { // "?follow" alone means yes
			return nil, fmt.Errorf("%s: %q is neither true nor false", name, text)
		}
		*field = value || text == ""
	}
	for name, field := range map[string]**int64{"tailLines": &o.TailLines, "limitBytes": &o.LimitBytes, "sinceSeconds": &o.SinceSeconds} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil || value < 0 {
			return nil, fmt.Errorf("%s: %q is not a number of at least 0", name, text)
		}
		*field = &value
	}
	if text := query.Get("sinceTime"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("sinceTime: %w", err)
		}
		o.SinceTime = &metav1.Time{Time: at}
	}
	if text := query.Get("stream"); text != "" {
		o.Stream = &text
	}
	return o, nil
}
