# One image per binary, made by tools/images from what it built into dist/:
#   docker build --build-arg NAME=orderer -t simline/orderer .
# Nothing but the static binary and the roots of trust; time zones are in the
# binary. Its file system may be read-only; ingest's spool wants a volume.
FROM scratch
ARG TARGETARCH=amd64
ARG NAME
COPY dist/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY dist/linux_${TARGETARCH}/${NAME} /simline
USER 65532:65532
ENTRYPOINT ["/simline"]
