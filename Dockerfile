# One image for every component: a static binary, and the programs that it and its
# users need. Both base images are arguments, for registries of one's own:
#
#   docker build --build-arg BASE_IMAGE=… --build-arg GO_IMAGE=… -t orrery .
#
# Where the network is closed: `go mod vendor` first, which the build then takes its
# modules from; and a BASE_IMAGE that has the packages below. CTL names a binary in this
# directory that scripts/build has made already (CTL=bin/ctl): nothing is compiled then.
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
ARG CTL=
ARG GOPROXY
WORKDIR /src
COPY . .
RUN if [ -n "$CTL" ]; then cp "$CTL" /ctl; else OUT=/ctl scripts/build; fi

FROM ${BASE_IMAGE}
RUN for program in iptables nft conntrack ip ping curl dig tcpdump; do \
		command -v $program >/dev/null || missing=yes; \
	done; \
	if [ -n "$missing" ]; then \
		apt-get update && apt-get install -y --no-install-recommends \
			iptables nftables conntrack iproute2 iputils-ping curl bind9-dnsutils tcpdump && \
		rm -rf /var/lib/apt/lists/*; \
	fi
COPY --from=build /ctl /usr/local/bin/ctl
COPY configs/compose/setup configs/compose/dns.yaml /etc/orrery/
RUN ln -s ctl /usr/local/bin/kubectl
ENTRYPOINT ["ctl"]
