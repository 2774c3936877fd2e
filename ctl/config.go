package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// A component's configuration is a struct whose YAML fields carry mapstructure tags.
// Each field can be given, in this order, by a flag (--node-port-range), by the
// environment (ORRERY_NODE_PORT_RANGE), by the file, or else has its default, which
// is the value the struct holds. Keys nest with "-" in flags and "_" in the
// environment.

// keyDelimiter is one that no key contains; viper would split keys at dots.
const keyDelimiter = "::"

// settings binds the fields of one configuration to a command.
type settings struct {
	viper *viper.Viper
	file  *string
	text  []byte // of the file, when it was loaded last
	known map[string]bool
}

// bind adds a flag per field of defaults, and --config, to cmd.
func bind(cmd *cobra.Command, defaults any) *settings {
	s := &settings{viper: viper.NewWithOptions(viper.KeyDelimiter(keyDelimiter)), known: map[string]bool{}}
	s.viper.SetEnvPrefix("ORRERY")
	s.viper.SetEnvKeyReplacer(strings.NewReplacer(keyDelimiter, "_", "-", "_"))
	s.viper.AutomaticEnv()
	s.file = cmd.Flags().String("config", "", "configuration file (YAML); flags and ORRERY_* variables override it")
	s.walk(cmd.Flags(), "", reflect.ValueOf(defaults))
	return s
}

// walk registers the fields of a struct below prefix.
func (s *settings) walk(flags *pflag.FlagSet, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		tag, option, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case !field.IsExported() || tag == "-" || (tag == "" && option == ""):
			continue
		case option == "squash":
			s.walk(flags, prefix, v.Field(i))
			continue
		}
		key := prefix + tag
		if field.Type.Kind() == reflect.Struct {
			s.walk(flags, key+keyDelimiter, v.Field(i))
			continue
		}
		s.known[key] = true
		s.viper.SetDefault(key, v.Field(i).Interface())
		s.addFlag(flags, key, field.Tag.Get("usage"), v.Field(i).Interface())
	}
}

// addFlag gives a field its flag. Lists of structs have none: they need a file.
func (s *settings) addFlag(flags *pflag.FlagSet, key, usage string, value any) {
	flag := strings.ReplaceAll(key, keyDelimiter, "-")
	switch value := value.(type) {
	case string:
		flags.String(flag, value, usage)
	case bool:
		flags.Bool(flag, value, usage)
	case int:
		flags.Int(flag, value, usage)
	case int64:
		flags.Int64(flag, value, usage)
	case time.Duration:
		flags.Duration(flag, value, usage)
	case []string:
		flags.StringSlice(flag, value, usage)
	default:
		return
	}
	_ = s.viper.BindPFlag(key, flags.Lookup(flag)) // fails for a nil flag only
}

// load fills into, a pointer to the struct that bind got, from all sources.
func (s *settings) load(into any) error {
	if *s.file != "" {
		var err error
		if s.text, err = os.ReadFile(*s.file); err != nil {
			return fmt.Errorf("read configuration: %w", err)
		}
		s.viper.SetConfigType("yaml")
		if err := s.viper.ReadConfig(bytes.NewReader(s.text)); err != nil {
			return fmt.Errorf("read configuration %s: %w", *s.file, err)
		}
		if err := s.checkKeys(); err != nil {
			return err
		}
	}
	var unused mapstructure.Metadata
	err := s.viper.Unmarshal(into, func(d *mapstructure.DecoderConfig) {
		d.Metadata = &unused
		d.DecodeHook = mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(), mapstructure.StringToSliceHookFunc(","))
	})
	if err != nil {
		return fmt.Errorf("configuration%s: %w", s.source(), err)
	}
	for _, key := range unused.Unused { // inside a list; the others checkKeys has found
		return fmt.Errorf("configuration%s: unknown key %q", s.source(), key)
	}
	return nil
}

// checkKeys refuses keys in the file that no field has.
func (s *settings) checkKeys() error {
	var unknown []error
	for _, key := range s.viper.AllKeys() {
		if !s.known[key] && s.viper.InConfig(key) {
			unknown = append(unknown, fmt.Errorf("unknown key %q%s", strings.ReplaceAll(key, keyDelimiter, "."), s.suggest(key)))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return fmt.Errorf("configuration%s: %w", s.source(), errors.Join(unknown...))
}

// suggest names the known keys with the same first letter.
func (s *settings) suggest(key string) string {
	var near []string
	for k := range s.known {
		if k[0] == key[0] {
			near = append(near, strings.ReplaceAll(k, keyDelimiter, "."))
		}
	}
	if len(near) == 0 {
		return ""
	}
	sort.Strings(near)
	return " (there is " + strings.Join(near, ", ") + ")"
}

func (s *settings) source() string {
	if *s.file == "" {
		return ""
	}
	return " " + *s.file
}
