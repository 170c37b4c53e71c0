/** Who has no session is told this: draft-broyer-http-cookie-auth, since no other scheme says what is missing. */
export const sessionChallenge = 'Cookie realm="sallyport", form-action="/oauth2/sign-in"'
