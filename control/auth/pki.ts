/**
 * The certificate authority between control plane and agents. A node's identity is its certificate's common
 * name; the control plane's is "control". Each side accepts only what this CA signed, under the expected name.
 */
/** The library reads a global that reflect-metadata makes, so their order matters, and a bundler keeps only that of dynamic imports. */
async function library() {
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const YEARS_10_MS = 10 * 365 * 24 * 3600 * 1000;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";

export type KeyAndCertificate = { key: string; cert: string };

export async function createCa(): Promise<KeyAndCertificate> {
  const { BasicConstraintsExtension, KeyUsageFlags, KeyUsagesExtension, X509CertificateGenerator } = await library();
  const keys = (await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as CryptoKeyPair;
  const cert = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: "CN=Hyperlane CA",
    ...validity(),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return { key: await exportKey(keys.privateKey), cert: cert.toString("pem") };
}

/** A certificate for `name`, good as client and as server; the server side is checked against `name` as a DNS name. */
export async function issueCertificate(ca: KeyAndCertificate, name: string): Promise<KeyAndCertificate> {
  const {
    BasicConstraintsExtension,
    ExtendedKeyUsageExtension,
    KeyUsageFlags,
    KeyUsagesExtension,
    PemConverter,
    SubjectAlternativeNameExtension,
    X509Certificate,
    X509CertificateGenerator,
  } = await library();
  const issuer = new X509Certificate(ca.cert);
  const signingKey = await crypto.subtle.importKey("pkcs8", PemConverter.decodeFirst(ca.key), ALGORITHM, false, ["sign"]);
  const keys = (await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as CryptoKeyPair;
  const cert = await X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${name}`,
    issuer: issuer.subject,
    ...validity(),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([SERVER_AUTH, CLIENT_AUTH]),
      new SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
    ],
  });
  return { key: await exportKey(keys.privateKey), cert: cert.toString("pem") };
}

function validity(): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - 3600_000), notAfter: new Date(now + YEARS_10_MS) };
}

function serial(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(15)))
    .toString("hex")
    .replace(/^/, "01");
}

async function exportKey(key: CryptoKey): Promise<string> {
  const { PemConverter } = await library();
  return PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}
